"""What `cifarzoo show` says about models, published weights and runs, for people and for programs."""

import csv
import dataclasses
import io
import json

import h5py
import pytest
from evaluation_cases import run_cli
from model_cases import ROOT
from test_tables import RESULTS

from cifarzoo.conversion.entries import entries
from cifarzoo.models.catalogue import catalogue
from cifarzoo.pretrained.description import ATTRIBUTE, Description
from cifarzoo.pretrained.manifest import manifest


@pytest.fixture
def show(monkeypatch, capsys):
    def run(*arguments):
        status, out, errors = run_cli(monkeypatch, capsys, "show", *arguments)
        assert (status, errors) == (0, [])
        return out

    return run


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "config.yaml").write_text("model: cifar_resnet20\ntrain_parameters: {run_name: net}\n")
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    return tmp_path


def test_a_model(show):
    record = catalogue()["cifar_resnet20"]
    heading, *lines = show(record.name).splitlines()
    assert heading == "cifar_resnet20(block_type='original', shortcut_type='A')"
    assert f"parameters: {record.total['10']:,} with 10 classes, {record.total['100']:,} with 100" in lines
    assert "multiply-accumulates: 40.55 M with 10 classes, 40.56 M with 100" in lines
    data = json.loads(show(record.name, "--format", "json"))
    assert data["macs"]["10"] == record.macs["10"]
    assert {entry["tag"] for entry in data["weights"]} == {e.tag for e in manifest() if e.model == record.name}
    for entry in data["weights"]:
        assert any(line.startswith(f"| {entry['tag']} | ") for line in lines)


def test_only_arguments_that_differ_are_shown_with_weights(show):
    rows = [line for line in show("cifar_resnet20").splitlines() if line.startswith("| resnet20_")]
    assert any(row.endswith("| block_type='preactivated' |") for row in rows)
    assert any(row.endswith("|  |") for row in rows)


def test_published_weights(show):
    entry = manifest()[0]
    lines = show(entry.tag).splitlines()
    assert lines[0].startswith(f"{entry.model}(") and f"tag: {entry.tag}" in lines
    assert f"test error: {entry.metrics['error']:.2f} %" in lines
    assert f"card: {ROOT / 'weights' / entry.tag}.md" in lines
    assert f"report: {ROOT / 'docs' / 'reports' / entry.tag}.html" in lines
    assert json.loads(show(entry.tag, "--format", "json"))["sha256"] == entry.sha256
    rows = dict(csv.reader(io.StringIO(show(entry.tag, "--format", "csv"))))
    assert rows["bytes"] == str(entry.bytes) and json.loads(rows["metrics"]) == entry.metrics


def test_a_run(show, run_folder):
    lines = show(run_folder).splitlines()
    assert {"experiment: net", "state: finished", "test error: 50.00 %", "steps: 20, 2,560 images"} <= set(lines)
    data = json.loads(show(run_folder, "--format", "json"))
    assert data["results"]["test"] == RESULTS["test"] and data["experiment"]["model"] == "cifar_resnet20"
    (run_folder / "results.json").unlink()
    assert "state: not finished; nothing saved" in show(run_folder).splitlines()


def test_a_folder_of_runs_points_to_the_table(monkeypatch, capsys, run_folder):
    _, _, (line,) = run_cli(monkeypatch, capsys, "show", run_folder.parent)
    assert "not the folder of a run" in line and f"cifarzoo table {run_folder.parent}" in line


def test_a_converted_file_has_a_line_per_fact_and_per_file(show, tmp_path):
    entry = entries()["osmr/resnet20_cifar10"]
    url, member = entry.files[0][0].url, entry.files[0][0].member
    files = {url: "12ab", "https://example.org/b": "34cd"}
    source = {"name": entry.name, "license": "MIT", "files": files, "reported_error": None, "entry_sha256": "ef"}
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file.attrs[ATTRIBUTE] = json.dumps(dataclasses.asdict(Description(source=source)))
    lines = show(str(tmp_path / "a.weights.h5")).splitlines()
    assert "source: osmr/resnet20_cifar10" in lines and "license: MIT" in lines
    assert f"address: {url}, SHA-256 of its member {member} 12ab" in lines
    assert "address 2: https://example.org/b, SHA-256 34cd" in lines
    assert not any("{" in line or "None" in line or "entry" in line for line in lines[1:])
