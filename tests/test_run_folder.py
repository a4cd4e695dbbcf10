"""A run's folder: what is written is complete, who holds the lock, what belongs to which experiment."""

import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydantic import ValidationError
from run_results import RESULTS
from test_damaged_files import META

from cifarzoo.errors import CheckpointError, DataError, ExperimentError, InUseError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs import atomic, locks
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.log_file import begin_log
from cifarzoo.runs.results import Results
from cifarzoo.strict_yaml import parse

HOLDER = """
import sys, time
from cifarzoo.runs.folder import RunFolder
with RunFolder(sys.argv[1]).locked():
    print("locked", flush=True)
    time.sleep(60)
"""


def experiment(folder, **parameters):
    return Experiment(model="net", dataset="cifar10", train_parameters={"logdir": str(folder)} | parameters)


def test_results_come_back_as_they_were_written(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.is_finished and not folder.has_started
    folder.write_results(Results.model_validate(RESULTS | {"note": [1, "ä"]}))
    written = json.loads(folder.results_path.read_text(encoding="utf-8"))
    assert written == RESULTS | {"note": [1, "ä"]} and list(written)[:5] == list(RESULTS)[:5]
    results = folder.results()
    assert folder.is_finished and results.as_dict() == written
    assert results.split == "test" and results.metrics["n"] == 10000 and isinstance(results.metrics["n"], int)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_run_with_a_validation_split():
    validated = {key: value for key, value in RESULTS.items() if key != "test"} | {"validation": {"error": 1.0}}
    results = Results.model_validate(validated)
    assert results.split == "validation" and results.metrics == {"error": 1.0} and results.as_dict() == validated


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not the results of a run"),
        ("[]", "not the results of a run"),
        (json.dumps({k: v for k, v in RESULTS.items() if k != "steps"}), r"results.json: .* \(steps is missing\)"),
        (json.dumps(RESULTS | {"seed": "three"}), r"\(seed Input should be a valid integer"),
    ],
)
def test_damaged_results_are_one_line(tmp_path, content, message):
    (tmp_path / "results.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        RunFolder(tmp_path).results()
    assert "\n" not in str(caught.value)


def test_the_folder_names_the_experiment_that_it_holds(tmp_path):
    first = experiment(tmp_path, batch_size=32)
    folder = RunFolder.of(first, 3)
    assert folder.path == tmp_path / "net" / "seed3"
    with folder.locked():
        folder.write_config(first)
        folder.save_checkpoint({"x": np.arange(3.0)}, META | {"fingerprint": first.fingerprint(), "step": 4})
    assert folder.has_started and not folder.is_finished and folder.experiment().fingerprint() == first.fingerprint()
    folder.check_belongs_to(first)
    with pytest.raises(CheckpointError, match=r"another experiment \(different: train_parameters.batch_size\)"):
        folder.check_belongs_to(experiment(tmp_path, batch_size=64))
    # A run decides once what `auto` means.
    folder.check_belongs_to(first.model_copy(update={"precision": "auto"}))
    for precision in ("bfloat16", "float64"):
        other = experiment(tmp_path / precision).model_copy(update={"precision": precision})
        begun = RunFolder.of(other, 0)
        with begun.locked():
            begun.write_config(other)
            begun.save_checkpoint({"x": np.arange(3.0)}, META | {"fingerprint": other.fingerprint(), "step": 4})
        auto = other.model_copy(update={"precision": "auto"})
        if precision == "bfloat16":
            begun.check_belongs_to(auto)
            continue
        with pytest.raises(CheckpointError, match=r"another experiment \(different: precision\)"):
            begun.check_belongs_to(auto)  # which never means float64
    with pytest.raises(CheckpointError, match=r"another experiment \(different: precision\)"):
        folder.check_belongs_to(first.model_copy(update={"precision": "bfloat16"}))
    other = experiment(tmp_path, batch_size=64).model_copy(update={"precision": "auto"})
    with pytest.raises(CheckpointError, match=r"another experiment \(different: train_parameters.batch_size\)"):
        folder.check_belongs_to(other)
    folder.write_results(Results.model_validate(RESULTS))  # whose fingerprint is that of neither
    with pytest.raises(CheckpointError, match="holds a run of another experiment; set another run_name"):
        folder.check_belongs_to(first)
    assert folder.load_checkpoint()[0]["x"].tolist() == [0, 1, 2] and folder.checkpoint_meta()["step"] == 4


@pytest.mark.parametrize(
    ("document", "longer"),
    [
        ({"train_parameters": {"keep": {"at": list(range(10_000))}}}, {"keep": {"at": list(range(10_001))}}),
        ({"drop": list(range(25_000))}, {}),  # as many as there are images
        ({"description": "😀" * 100_000}, {}),  # ten characters of YAML each
    ],
)
def test_what_a_run_writes_it_reads_however_long_it_is(tmp_path, document, longer):
    first = Experiment(model="net", **document)
    folder = RunFolder(tmp_path)
    folder.write_config(first)
    assert folder.experiment().resolved() == first.resolved()
    with pytest.raises(ExperimentError, match="more than 20,000 values|longer than 500,000 bytes"):
        parse(folder.config_path.read_text(encoding="utf-8"), "")  # longer than what people may write
    if longer:
        with pytest.raises(ValidationError):
            Experiment(model="net", train_parameters=longer)  # so the test is at the limit


def test_the_lock_ends_with_its_process_however_that_ends(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InUseError, match=f"another process .number {process.pid}. is training there"):
            with RunFolder(tmp_path).locked():
                pass
    finally:
        process.kill()
        process.communicate()
    for _ in range(2):
        with RunFolder(tmp_path).locked():
            assert (tmp_path / "lock.pid").read_text(encoding="utf-8") == str(os.getpid())


def test_final_weights_are_those_that_the_results_name(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(DataError, match=r"not a finished run: config.yaml and final.weights.h5 are expected"):
        folder.final_weights()
    folder.weights_path.write_bytes(b"weights")
    folder.write_results(Results.model_validate(RESULTS))
    assert folder.final_weights() == folder.weights_path  # results of older versions have no hash
    digest = hashlib.sha256(b"weights").hexdigest()
    folder.write_results(Results.model_validate(RESULTS | {"weights_sha256": digest}))
    assert folder.final_weights() == folder.weights_path
    folder.weights_path.write_bytes(b"weightz")
    with pytest.raises(DataError, match=r"final.weights.h5: not the file that the run wrote: sha256 .*; delete "):
        folder.final_weights()
    folder.weights_path.unlink()
    with pytest.raises(DataError, match=r"final.weights.h5: missing, although the run has finished; delete"):
        folder.final_weights()


def test_a_folder_in_which_nothing_was_written_is_removed(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "net" / "seed0")
    for as_on_windows in (False, True):
        with pytest.raises(RuntimeError), folder.locked():
            if as_on_windows:
                (folder.path / "lock").unlink()
            raise RuntimeError
        assert not list(tmp_path.iterdir())
    with folder.locked():
        folder.log_path.write_bytes(b"")
    assert folder.log_path.is_file()
    (tmp_path / "there").mkdir()
    with RunFolder(tmp_path / "there").locked():
        pass
    assert (tmp_path / "there" / "lock").is_file()


HEADER = "step\tloss"
LOG = b"step\tloss\n10\t2.5\n20\t1.25\n"


def test_a_resumed_log_is_cut_back_to_its_checkpoint(tmp_path, caplog):
    path = tmp_path / "log.tsv"
    path.write_bytes(LOG + b"30\t1\n")
    begin_log(path, HEADER, len(LOG))
    assert path.read_bytes() == LOG and not caplog.text
    begin_log(path, HEADER)
    assert path.read_bytes() == LOG[:10] and not caplog.text


@pytest.mark.parametrize(
    ("left", "kept"), [(None, LOG[:10]), (b"", LOG[:10]), (LOG[:-3], LOG[:17]), (b"other\n1\n", LOG[:10])]
)
def test_a_log_that_lost_rows_is_not_continued_silently(tmp_path, caplog, left, kept):
    path = tmp_path / "log.tsv"
    if left is not None:
        path.write_bytes(left)
    begin_log(path, HEADER, len(LOG))
    assert path.read_bytes() == kept
    assert f"bytes, but had {len(LOG)} when the checkpoint was written" in caplog.text


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "page.md"
    atomic.write_text(path, "Größe\n")
    with pytest.raises(RuntimeError), atomic.replacing(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_bytes() == "Größe\n".encode() and list(tmp_path.iterdir()) == [path]


def test_whoever_waits_for_a_lock_says_for_whom(tmp_path, monkeypatch, caplog):
    path = tmp_path / "lock"
    monkeypatch.setattr(locks, "SILENT_SECONDS", 0)
    with ThreadPoolExecutor() as pool:

        def wait():
            with locks.locked(path, wait=True):
                return True

        with locks.locked(path):
            waiting = pool.submit(wait)
            for _ in range(100):
                if not caplog.messages:
                    time.sleep(0.01)
        assert waiting.result() and caplog.messages == [f"waiting for process {os.getpid()}, which holds {path}"]


def test_two_writers_of_one_file_have_a_temporary_file_each(tmp_path):
    path = tmp_path / "net.weights.h5"
    with atomic.replacing(path, shared=True) as first:
        with atomic.replacing(path, shared=True) as second:
            first.write_bytes(b"first")
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second" and first.name.endswith(".weights.h5")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_windows_retries_while_a_reader_has_the_file_open(tmp_path, monkeypatch):
    replace, refusals = os.replace, [PermissionError("open elsewhere")] * 2

    def refuse_twice(source, target):
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_twice)
    monkeypatch.setattr(atomic, "RETRY_SECONDS", (0, 0, 0))
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)  # no folder can be opened there
    atomic.write_text(tmp_path / "page.md", "text")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == "text"
