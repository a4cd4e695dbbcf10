"""Publishing and the training queue, end to end on a small run of the embedded data."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from small_zoo import ROOT, ROWS, TAG, copy_of, few_images, fill_zoo
from without_tensorflow import WITHOUT_TENSORFLOW

from cifarzoo.checksum import sha256
from cifarzoo.cli.weights import parse_budget
from cifarzoo.errors import ExperimentError, WeightsError
from cifarzoo.pretrained.description import read_description
from cifarzoo.publishing.wanted import read_rows
from cifarzoo.publishing.weights_folder import WeightsFolder
from cifarzoo.runs import atomic
from cifarzoo.runs.folder import RunFolder


def test_half_precision_copy_is_half_as_large_and_loads(tmp_path):
    import cifarzoo
    from cifarzoo.publishing.half_precision import halve

    model = cifarzoo.cifar_resnet32()
    model.save_weights(tmp_path / "full.weights.h5")
    halve(tmp_path / "full.weights.h5", tmp_path / "half.weights.h5")
    sizes = [(tmp_path / f"{name}.weights.h5").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.75 * sizes[0]
    other = cifarzoo.cifar_resnet32(load_weights=str(tmp_path / "half.weights.h5"))
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        assert b.dtype == np.float32
        np.testing.assert_array_equal(b, a.astype(np.float16).astype(np.float32))
    with h5py.File(tmp_path / "half.weights.h5") as file:
        types = set()
        file.visititems(lambda _, node: types.add(node.dtype) if hasattr(node, "dtype") else None)
    assert np.dtype(np.float16) in types and np.dtype(np.float32) not in types


@pytest.mark.parametrize(("text", "seconds"), [("20m", 1200), ("1.5h", 5400), ("90s", 90)])
def test_budget(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["20", "m", "-3m", "20 minutes"])
def test_bad_budget(text):
    with pytest.raises(ExperimentError, match="for example 20m"):
        parse_budget(text)


def test_wanted_rows_are_valid_and_differ():
    rows = read_rows(ROOT / "recipes" / "zoo.yaml", "runs")
    assert len({row.tag for row in rows}) == len(rows) >= 20
    first = next(row for row in rows if row.tag == "resnet20_v2_cifar10_he2015_s0")
    assert first.experiment.model_parameters == {"block_type": "preactivated"}
    assert first.experiment.train_parameters.resolved_schedule().total(first.experiment.lengths(50_000)) == 64_000


def test_unknown_recipe_is_named(tmp_path):
    (tmp_path / "rows.yaml").write_text(ROWS.replace("recipes: [brief]", "recipes: [long]"))
    with pytest.raises(ExperimentError, match="row 1: unknown recipe 'long'; the file has brief"):
        read_rows(tmp_path / "rows.yaml", "runs")


def test_recipe_in_a_file_of_its_own(tmp_path):
    (tmp_path / "quick.yaml").write_text("model: other\ntrain_parameters: {batch_size: 64, weight_decay: 0.5}\n")
    (tmp_path / "rows.yaml").write_text(
        ROWS.replace("common:", "  quick: quick.yaml\ncommon:").replace("[brief]", "[quick]")
    )
    (row,) = read_rows(tmp_path / "rows.yaml", "runs")
    parameters = row.experiment.train_parameters
    assert (row.tag, row.experiment.model) == ("resnet20_v1_synthetic_quick_s0", "cifar_resnet20")
    assert (parameters.batch_size, parameters.weight_decay, parameters.log_interval.steps) == (64, 0.5, 3)
    (tmp_path / "quick.yaml").write_text("- 3")
    with pytest.raises(ExperimentError, match="quick.yaml: expected a mapping with keys of an experiment"):
        read_rows(tmp_path / "rows.yaml", "runs")
    (tmp_path / "quick.yaml").unlink()
    with pytest.raises(ExperimentError, match="quick.yaml: cannot be read"):
        read_rows(tmp_path / "rows.yaml", "runs")


@pytest.mark.parametrize(
    "text, message",
    [
        ("recipes: 3\nrows: []", "rows.yaml: recipes: expected a mapping, got 3"),
        ("- 3", "rows.yaml: expected a mapping with recipes, common and rows"),
        ("recipes: {a: [3]}\nrows: []", r"recipes.a.* got \[3\]"),
        (ROWS.replace("recipes: [brief]", "recipe: [brief]"), r"rows\[0\].recipes: missing, but required"),
        (ROWS.replace("recipes: [brief]", "recipes: brief"), r"rows\[0\].recipes: expected a list, got 'brief'"),
        (ROWS.replace("recipes: [brief]", "recipes: [brief], seeds: 3"), r"rows\[0\].seeds: expected a list, got 3"),
        (ROWS.replace("name: resnet20_v1, ", ""), r"rows\[0\].name: missing, but required"),
        (ROWS.replace("  - {name", "  - 3\n  - {name"), r"rows\[0\]: expected a mapping, got 3"),
        (ROWS.replace("[brief]", "[brief, brief]"), "2 rows are called resnet20_v1_synthetic_brief_s0"),
        (ROWS.replace("resnet20_v1", "a/b"), r"rows\[0\].name: expected a name of letters, digits .*, got 'a/b'"),
        (ROWS.replace("common:", "stopgap: [brief]\ncommon:"), r"stopgap: unknown key; did you mean stopgaps\?"),
        (ROWS.replace("common:", "zoo: [brief]\ncommon:"), "zoo: unknown key; known are recipes, stopgaps, common"),
        (ROWS.replace("common:", "stopgaps: [short]\ncommon:"), "stopgaps: unknown recipe 'short'; the file has brief"),
        (ROWS.replace("[brief]", "[brief], momentun: 0.9"), "row 1: momentun: unknown key"),
        ("recipes: {}\nrows: []", r"rows.yaml: rows: expected at least 1 value\(s\), got \[\]$"),
        # The run's name, without _s0, has 200 characters, the most that a name may have.
        (
            ROWS.replace("resnet20_v1", "x" * 184),
            r"row 1: tag 'x{76}\.\.\.: must have at most 200 characters$",
        ),
    ],
)
def test_bad_rows_are_one_line(tmp_path, text, message):
    (tmp_path / "rows.yaml").write_text(text)
    with pytest.raises(ExperimentError, match=message):
        read_rows(tmp_path / "rows.yaml", "runs")


@pytest.mark.slow
def test_the_queue_trains_publishes_and_then_has_nothing_left(filled):
    folder, printed = filled
    assert f"{TAG}: published, error" in printed
    (entry,) = json.loads((folder / "weights/manifest.json").read_text())
    assert entry["metrics"]["n"] == 2000 and entry["training"]["recipe"] == "brief" and entry["default"]
    assert entry["training"]["experiment"]["precision"] in ("float32", "bfloat16")  # what `auto` was here
    assert entry["macs"] == 40_551_040 and entry["remark"] == "A few steps only."
    for suffix in ("weights.h5", "golden.npz", "md", "log.tsv"):
        assert (folder / f"weights/{TAG}.{suffix}").is_file()
    described = read_description(folder / f"weights/{TAG}.weights.h5")
    assert str(described) == "cifar_resnet20(block_type='original', shortcut_type='A', classes=10)"
    assert (described.dataset, described.statistics) == ("synthetic", "cifar10")
    evaluated = subprocess.run(
        [sys.executable, "-m", "cifarzoo", "evaluate", "cifar_resnet20", "--format", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CIFARZOO_WEIGHTS": "weights"},
    )
    assert json.loads(evaluated.stdout)["error"] == entry["metrics"]["error"]
    # A card that an interrupted publication did not write is written now.
    card = folder / f"weights/{TAG}.md"
    text = card.read_text()
    assert ". A few steps only." in text and "no choice" not in text
    card.unlink()
    again = fill_zoo(folder, "--budget", "1h")
    assert again.returncode == 0 and again.stdout == "" and card.read_text() == text


@pytest.mark.slow
def test_the_queue_where_there_is_no_tensorflow(tmp_path):
    (tmp_path / "rows.yaml").write_text(ROWS.replace("common:\n", "common:\n  backend: jax\n"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "manifest.json").write_text("[]")
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
    found = fill_zoo(tmp_path, "--budget", "1h", PYTHONPATH=f"{tmp_path}:{ROOT}", JAX_PLATFORMS="cpu")
    assert f"{TAG}: published, error" in found.stdout, found.stderr[-3000:]
    (entry,) = json.loads((tmp_path / "weights/manifest.json").read_text())
    assert entry["training"]["backend"] == "jax"


@pytest.mark.slow
def test_publication_stopped_at_any_file_is_made_whole_by_the_next(filled, tmp_path, monkeypatch):
    from cifarzoo.publishing.pages import results_page
    from cifarzoo.publishing.publish import publish

    weights, run = copy_of(filled, tmp_path)
    few, write_text, written = few_images(), atomic.write_text, []

    class Stopped(BaseException):
        pass

    def publish_until(count):
        """Stop before the file number `count`; the names of the files that were to be written."""
        written.clear()

        def write(path, text):
            if len(written) == count:
                raise Stopped
            written.append(path.name)
            write_text(path, text)

        monkeypatch.setattr(atomic, "write_text", write)
        try:
            publish(run, few, weights, f"stop{count}", "brief")
        except Stopped:
            return False
        finally:
            monkeypatch.setattr(atomic, "write_text", write_text)
        return True

    assert not publish_until(0)
    assert [entry.tag for entry in weights.entries()] == [TAG]  # as if nothing had been
    count = 1
    while not publish_until(count):
        assert written[0] == "manifest.json"
        entries = weights.entries()
        assert f"stop{count}" in {entry.tag for entry in entries}
        weights.write_pages()
        assert all((weights.path / f"{entry.tag}.md").is_file() for entry in entries)
        assert (tmp_path / "RESULTS.md").read_text() == results_page(entries, weights.path / "anchors.yaml")
        readme = (tmp_path / "README.md").read_text()
        assert f"stop{count}" in readme and readme.endswith("After\n")
        count += 1
    assert count >= 4 and not list(tmp_path.rglob("*.part*"))  # manifest, card, results page, README


@pytest.mark.slow
def test_every_file_is_on_the_disk_before_the_manifest_names_it(filled, tmp_path, monkeypatch):
    """After a loss of power, the disk has what was flushed, in the order of the calls."""
    from cifarzoo.publishing.publish import publish

    weights, run = copy_of(filled, tmp_path)
    calls, replace, fsync = [], os.replace, os.fsync

    def record_replace(source, target):
        calls.append(("rename", os.path.basename(target), os.stat(source).st_ino))
        replace(source, target)

    def record_fsync(descriptor):
        calls.append(("flush", None, os.fstat(descriptor).st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "replace", record_replace)
    monkeypatch.setattr(os, "fsync", record_fsync)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    entry = publish(run, few_images(), weights, "flushed", "brief")
    renamed = [name for kind, name, _ in calls if kind == "rename"]
    named = [entry.file, entry.golden, "flushed.log.tsv"]
    assert renamed[:4] == [*named, "manifest.json"]
    folder = weights.path.stat().st_ino
    for name in renamed[:4]:
        (position,) = (number for number, call in enumerate(calls) if call[:2] == ("rename", name))
        assert calls[position - 1] == ("flush", None, calls[position][2])  # its content before its name
        assert calls[position + 1] == ("flush", None, folder)  # and its name before the next file
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    # The same command completes what was interrupted, and another run's tag stays taken.
    (weights.path / "flushed.md").unlink()
    (tmp_path / "RESULTS.md").unlink()
    assert publish(run, few_images(), weights, "flushed", "brief") == entry
    assert (weights.path / "flushed.md").is_file() and (tmp_path / "RESULTS.md").is_file()
    other = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    other.results_path.write_text(other.results_path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(WeightsError, match="flushed: published already; choose another tag"):
        publish(other, few_images(), weights, "flushed", "brief")
    (weights.path / entry.file).write_bytes(b"")
    with pytest.raises(WeightsError, match="flushed: published already"):
        publish(run, few_images(), weights, "flushed", "brief")


@pytest.mark.slow
def test_a_readme_without_a_place_is_refused_before_anything_is_published(filled, tmp_path):
    from cifarzoo.publishing.publish import publish

    weights, run = copy_of(filled, tmp_path)
    (tmp_path / "README.md").write_text("Cut short")
    with pytest.raises(WeightsError, match="README.md: the marks .* are missing"):
        publish(run, few_images(), weights, "other")
    assert [entry.tag for entry in weights.entries()] == [TAG]
    assert (tmp_path / "README.md").read_text() == "Cut short"


@pytest.mark.slow
@pytest.mark.parametrize("order", [("brief", "long"), ("long", "brief")])
def test_the_preferred_recipe_is_the_default_whichever_came_first(filled, tmp_path, order):
    from cifarzoo.publishing.publish import publish

    weights, run = copy_of(filled, tmp_path)
    weights.manifest_path.write_text("[]")
    for recipe in order:
        publish(run, few_images(), weights, recipe, recipe, preference=("long", "brief"))
    entries = weights.entries()
    assert {entry.tag: entry.default for entry in entries} == {"long": True, "brief": False}
    weights.prefer("brief")
    entries = weights.entries()
    assert {entry.tag: entry.default for entry in entries} == {"long": False, "brief": True}
    assert "load_weights='long'" in (weights.path / "long.md").read_text()
    # No later publication undoes it, whatever the order of recipes.
    publish(run, few_images(), weights, "longest", "long", preference=("long", "brief"))
    entries = weights.entries()
    assert [entry.tag for entry in entries if entry.default] == ["brief"]
    with pytest.raises(WeightsError, match="longer: not published in .*; there are brief, long, longest"):
        weights.prefer("longer")


@pytest.mark.slow
def test_one_command_publishes_a_run_with_the_page_that_the_site_links(filled, tmp_path):
    pytest.importorskip("matplotlib")
    weights, run = copy_of(filled, tmp_path)
    (tmp_path / "docs" / "reports").mkdir(parents=True)
    # A terminal, on which the command shows its progress.
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cifarzoo", "publish", str(run.path), "whole", "--weights", str(weights.path)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, shown
    assert re.fullmatch(r"whole: error \d+\.\d\d % of 2000 test images\n", printed)
    steps = (b"measure", b"in half precision", b"write whole", b"draw the pictures")
    assert [step for step in steps if step in shown] == list(steps)
    page = (tmp_path / "docs" / "reports" / "whole.html").read_text(encoding="utf-8")
    (entry,) = (entry for entry in weights.entries() if entry.tag == "whole")
    assert "<h1>whole</h1>" in page and f"{entry.metrics['error']:.2f} %" in page and str(tmp_path) not in page


@pytest.mark.slow
def test_two_that_publish_at_once_lose_nothing(filled, tmp_path):
    """Whoever comes second waits and reads what the first has written."""

    weights, run = copy_of(filled, tmp_path)
    command = [sys.executable, "-m", "cifarzoo", "publish", str(run.path), "--weights", str(weights.path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    both = [subprocess.Popen([*command, tag], env=environment) for tag in ("one", "two")]
    assert [process.wait(timeout=600) for process in both] == [0, 0]
    assert {entry.tag for entry in weights.entries()} == {TAG, "one", "two"}


@pytest.mark.slow
def test_weights_beyond_half_precision_are_published_whole(filled, tmp_path):
    from cifarzoo.publishing.publish import publish

    weights, run = copy_of(filled, tmp_path)
    copy = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    with h5py.File(copy.weights_path, "r+") as file:
        gammas = []
        file.visititems(lambda name, node: gammas.append(name) if getattr(node, "shape", None) == (64,) else None)
        file[gammas[-1]][0] = 1e5
    results = json.loads(copy.results_path.read_text(encoding="utf-8"))
    copy.results_path.write_text(json.dumps(results | {"weights_sha256": sha256(copy.weights_path)}), encoding="utf-8")
    entry = publish(copy, few_images(), weights, "large")
    with h5py.File(weights.path / entry.file) as file:
        assert file[gammas[-1]].dtype == np.float32


@pytest.mark.parametrize(
    "tag, removed, change, message",
    [
        ("../x", None, None, r"\.\./x: not a name for weights"),
        ("my/tag", None, None, "my/tag: not a name for weights"),
        ("best.h5", None, None, "best.h5: not a name for weights: must not end in .h5 or .keras"),
        ("x" * 201, None, None, "'x{76}...: not a name for weights: must have at most 200 characters"),
        ("other", "log.tsv", None, "log.tsv is missing"),
        ("other", None, ("module: null", "module: tiny_models"), "trained a network of the module tiny_models"),
        ("other", None, ("labels: null", "labels: {symmetric: 0.4}"), "trained with `labels`; published weights are"),
        ("other", None, ("drop: null", "drop: [3]"), "trained with `drop`; published weights are trained on all of"),
    ],
)
def test_what_cannot_be_published_is_refused_before_it_is_evaluated(filled, tmp_path, tag, removed, change, message):
    from cifarzoo.publishing.publish import publish

    weights, run = copy_of(filled, tmp_path)
    copy = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    if removed:
        (copy.path / removed).unlink()
    if change:
        text = copy.config_path.read_text(encoding="utf-8")
        assert change[0] in text
        copy.config_path.write_text(text.replace(*change), encoding="utf-8")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(WeightsError, match=message):
        publish(copy, few_images(), weights, tag)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("tag", ["resnet20_v1_cifar10_200ep_s0", "x" * 200, "best.h5.1", "a+b.weights"])
def test_valid_tags(tag):
    from cifarzoo.publishing.wanted import check_tag

    check_tag(tag)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("best.h5", "must not end in .h5 or .keras"),
        ("best.weights.h5", "must not end in .h5 or .keras"),
        ("best.keras", "must not end in .h5 or .keras"),
        ("x" * 260, "must have at most 200 characters"),
        ("", "expected a name of letters, digits"),
        ("a/b", "expected a name of letters, digits"),
        ("a\n", "expected a name of letters, digits"),
    ],
)
def test_tags_that_no_file_can_have_or_nobody_could_load(tag, message):
    from cifarzoo.publishing.wanted import check_tag

    with pytest.raises(ValueError, match=message):
        check_tag(tag)


def test_published_again_with_other_words_is_refused(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from cifarzoo.publishing import publish as module

    entry = dataclasses.replace(WeightsFolder(ROOT / "weights").entries()[0], remark="Known.")
    recipe = entry.training["recipe"]
    weights = WeightsFolder(tmp_path)
    weights.manifest_path.write_text(json.dumps([dataclasses.asdict(entry)]))
    shutil.copy(ROOT / "weights" / entry.file, tmp_path)
    checked = SimpleNamespace(resolved=lambda: entry.training["experiment"]), SimpleNamespace(**entry.training)
    monkeypatch.setattr(module, "_checked", lambda *arguments: checked)

    def publish(*words):
        return module.publish(RunFolder(tmp_path), None, weights, entry.tag, *words)

    assert publish() == publish(recipe) == publish(recipe, (), "Known.") == entry
    with pytest.raises(
        WeightsError, match=f"{entry.tag}: published already with recipe '{recipe}', not 'other'; choose"
    ):
        publish("other")
    with pytest.raises(WeightsError, match=f"{entry.tag}: published already with remark 'Known.', not 'New.'; choose"):
        publish(recipe, (), "New.")


def test_a_folder_that_is_not_there_is_one_line(filled, tmp_path):
    from cifarzoo.publishing.publish import publish

    with pytest.raises(WeightsError, match="nowhere: not a weights folder"):
        publish(copy_of(filled, tmp_path)[1], few_images(), WeightsFolder(tmp_path / "nowhere"), "x")


def test_rows_prefer_the_recipes_that_come_first():
    rows = read_rows(ROOT / "recipes" / "zoo.yaml", "runs")
    (brief,) = (row for row in rows if row.tag == "resnet20_v2_cifar10_40ep_small_first_s0")
    (long,) = (row for row in rows if row.tag == "resnet20_v2_cifar10_200ep_s0")
    assert brief.preference == long.preference == ("200ep", "he2015", "90ep", "40ep_small_first")
    assert brief.is_stopgap and not long.is_stopgap and not long.better
    assert brief.better == {f"resnet20_v2_cifar10_{recipe}_s0" for recipe in ("200ep", "he2015", "90ep")}


@pytest.mark.parametrize(
    "wrong, total, agree",
    [
        ((700, 700), 10_000, True),
        ((700, 701), 10_000, True),
        ((2901, 2900), 10_000, True),
        ((700, 702), 10_000, False),
        ((7, 8), 2000, False),
        ((7, 7), 2000, True),
    ],
)
def test_half_precision_may_change_one_image_in_ten_thousand(wrong, total, agree):
    from cifarzoo.publishing.half_precision import errors_agree

    assert errors_agree(*(100 * count / total for count in wrong), total) is agree


def test_a_row_that_cannot_be_estimated_does_not_end_the_others(tmp_path, capsys, monkeypatch):
    from cifarzoo.publishing.queue import TrainingQueue
    from cifarzoo.training.estimate import Pace
    from cifarzoo.training.stopping import StopRequest

    monkeypatch.setattr("cifarzoo.publishing.queue.probe", lambda *device: 1e11)  # as two cores reach
    monkeypatch.setattr("cifarzoo.publishing.queue.measure_pace", lambda experiment: Pace(startup=7.0, step=0.1))

    text = ROWS.replace(
        "rows:\n", "rows:\n  - {name: none, model: cifar_nothing, dataset: cifar10, recipes: [brief]}\n"
    )
    (tmp_path / "rows.yaml").write_text(text)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "manifest.json").write_text("[]")
    weights = WeightsFolder(tmp_path / "weights")
    queue = TrainingQueue(read_rows(tmp_path / "rows.yaml", str(tmp_path / "runs")), weights)
    row, seconds = queue.choose_row(queue.open_rows(), time.monotonic() + 3600, failed := [], StopRequest())
    # Compilation, 24 steps, and the arithmetic of evaluating 45,000 images: 45,000 * 2 * 40.6e6 / 1e11 = 36.5 s.
    assert row.tag == TAG and seconds == pytest.approx(60 + 36.5 + 7 + 2.4, abs=0.1)
    assert [row.tag for row in failed] == ["none_cifar10_brief_s0"]
    assert "none_cifar10_brief_s0: " in capsys.readouterr().out
    # Without the data, too: how many images CIFAR has is known.
    (tmp_path / "rows.yaml").write_text(ROWS.replace("synthetic", "cifar100"))
    queue = TrainingQueue(read_rows(tmp_path / "rows.yaml", str(tmp_path / "runs")), weights, str(tmp_path))
    assert queue.rough_seconds(queue.open_rows()[0]) > 60
