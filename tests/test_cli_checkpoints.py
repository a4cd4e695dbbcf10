"""`cifarzoo import --list` and `cifarzoo list --pretrained`: what they show, and that they start quickly."""

import json
import re
import subprocess
import sys
from dataclasses import astuple

import pytest

import cifarzoo
from cifarzoo.cli.checkpoints import print_checkpoints
from cifarzoo.conversion import measured
from cifarzoo.conversion.entries import entries
from cifarzoo.conversion.sizes import network, size_of, sizes
from cifarzoo.errors import ExperimentError, WeightsError
from cifarzoo.models.catalogue import catalogue


def test_table_is_readable_at_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_checkpoints()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < len(entries()) + 25  # no name is folded
    assert lines[1].split()[:2] == ["name", "reported"] and lines[1].split()[-4:] == ["epoch", "of", "the", "file"]
    at = [line.strip() for line in lines].index("akamaster/")
    assert lines[at + 3].split() == ["resnet44", "6.90", "last", "epoch"]


def test_markdown_has_whole_names(capsys, monkeypatch):
    monkeypatch.setattr(measured, "measured", dict)
    print_checkpoints("akamaster", "cifar10", "markdown")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 6
    assert lines[2].startswith("| akamaster/resnet20 | 8.27 | last epoch | 271,098 | 40.6 | BSD-2-Clause | not tried |")


def test_json_has_every_fact(capsys):
    print_checkpoints("osmr/resnet20_cifar100", None, "json")
    (row,) = json.loads(capsys.readouterr().out)
    assert row["files"][0][0]["hashes"] == {"sha1_of_member": "6a85f07e9bda4721ee68f9b7350250b866247324"}
    assert (row["statistics"], row["dataset"], row["trainable"]) == ("kuangliu", "cifar100", 278_324)


def test_measured_errors_stand_beside_the_reported(capsys, monkeypatch):
    monkeypatch.setattr(measured, "measured", lambda: {"akamaster/resnet20": measured.Measurement(8.27, 10_000, "jax")})
    print_checkpoints("akamaster", None, "markdown")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| name | error % reported | error % measured |")
    assert lines[2].startswith("| akamaster/resnet20 | 8.27 | 8.27 |")
    assert lines[3].startswith("| akamaster/resnet32 | 7.37 |  |")


def test_errors():
    with pytest.raises(ExperimentError, match=re.escape(r"--dataset svhn\n: expected cifar10 or cifar100")):
        print_checkpoints("*", "svhn\n")
    with pytest.raises(
        WeightsError, match=re.escape("import --list nope: no checkpoint trained on cifar100 matches; ")
    ):
        print_checkpoints("nope", "cifar100")


def test_models_with_weights(capsys):
    names = cifarzoo.list_models(pretrained=True)
    assert {"cifar_vgg19", "cifar_resnet20", "cifar_airbench94"} <= set(names)
    assert "cifar_skipnet38" not in names and "cifar_airbench95" not in names


def test_start_is_fast_and_without_keras():
    code = """if True:
        import sys
        from cifarzoo.cli.application import command
        command()(["import", "--list", "sjmikler", "--format", "markdown"], standalone_mode=False)
        print({"keras", "numpy", "tensorflow"} & set(sys.modules))"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.count("sjmikler/") == 11 and output.endswith("set()\n")


def test_record_writes_what_the_command_printed(tmp_path):
    path = tmp_path / "measured.json"
    document = {"name": "AKAMASTER/resnet20", "error": 8.27, "images": 10_000, "backend": "tensorflow", "more": 1}
    measured.record([document], path)
    measured.record([document | {"name": "lasagne/cifar_model_n5", "error": 7.4}], path)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "akamaster/resnet20": {"error": 8.27, "images": 10_000, "backend": "tensorflow"},
        "lasagne/cifar_model_n5": {"error": 7.4, "images": 10_000, "backend": "tensorflow"},
    }
    for wrong in ({}, document | {"name": "nope"}, document | {"error": None}):
        with pytest.raises(WeightsError):
            measured.record([wrong], path)


def test_measured_file_names_entries():
    assert set(measured.measured()) <= set(entries())
    assert all(0 < one.error < 50 and one.images == 10_000 for one in measured.measured().values())


def test_sizes_are_those_of_the_entries():
    assert set(sizes()) == {network(entry) for entry in entries().values()}


def test_sizes_with_default_arguments_are_those_of_the_catalogue():
    plain = [entry for entry in entries().values() if not entry.arguments]
    assert len(plain) > 40
    for entry in plain:
        record = catalogue()[entry.factory]
        there = (record.trainable, record.total, record.macs)
        assert astuple(size_of(entry)) == tuple(values[str(entry.classes)] for values in there)


@pytest.mark.parametrize(
    "entry", [entry for entry in entries().values() if entry.trainable], ids=lambda entry: entry.name
)
def test_sources_report_the_same_number_of_parameters(entry):
    assert size_of(entry).trainable == entry.trainable
