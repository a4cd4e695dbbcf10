"""Weights along the way: at which steps, how much of the disk, and the same files after an interruption."""

import pytest
from pydantic import TypeAdapter

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.keeping import KeepSetting, KeptSteps, size_text
from cifarzoo.experiment.plan import Plan
from cifarzoo.runs.kept import KeptWeights

KEEPS = [{"every": 5}, {"every": 7, "at": [0, 14, 3]}, [4, 5, 20], {"every": "1 epochs"}, {"every": 20, "at": [20]}]


def experiment(**parameters):
    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 20}
    section = {"batch_size": 32, "schedule": schedule, "steps_per_call": 6, "log_interval": 100} | parameters
    return experiment_from([{"model": "cifar_resnet20", "dataset": "synthetic", "train_parameters": section}], "file")


@pytest.mark.parametrize("keep", KEEPS)
def test_calls_end_at_the_steps_that_are_kept(keep):
    """An epoch of 128 images has 4 steps."""
    plan = Plan(experiment(keep=keep), images=128)
    section = TypeAdapter(KeepSetting).validate_python(keep)
    every = section.every and section.every.in_steps(128, 32)
    expected = {step for step in range(1, 21) if every and step % every == 0} | {d.steps for d in section.at}
    assert {step for step in range(21) if step in plan.kept} == expected and len(plan.kept) == len(expected)
    ends, step = [], 0
    while step < plan.total:
        ends.append(step := plan.next_end(step))
    assert expected - {0} <= set(ends)


@pytest.mark.parametrize(
    "keep, message",
    [
        ({}, "keep: expected {every: DURATION}, {at: .*} or a list of durations, got {}"),
        ([], "keep: expected {every: DURATION}, {at: .*} or a list of durations, got \\[\\]"),
        (3, "keep: expected a mapping, got 3"),
        ([-1], r"keep.at\[0\].steps: must be at least 0, got -1"),
        ({"every": 1, "at_most": "1 XB"}, "keep.at_most: expected a size, such as 500 MB or 2 GB, got '1 XB'"),
        ({"every": 1, "at_most": 0}, "keep.at_most: must be greater than 0, got 0"),
        ({"every": 1, "foo": 1}, "keep.foo: unknown key; known are every, at, at_most"),
        ({"every": 0}, r"file \(cifar_resnet20\): train_parameters.keep.every: expected 1 to 20 steps, .*, got 0"),
        ([5, 21], "train_parameters.keep.at: training ends after 20 steps, got 21"),
    ],
)
def test_what_cannot_be_kept_is_one_line(keep, message):
    with pytest.raises(ExperimentError, match=message) as failure:
        Plan(experiment(keep=keep), images=128)
    assert "\n" not in str(failure.value)


def test_sizes_are_read_and_written():
    sizes = {"100 kB": 1e5, "1.5 GB": 1.5e9, "1MiB": 2**20, "7 B": 7, 2000: 2000}
    keeps = [TypeAdapter(KeepSetting).validate_python({"every": 1, "at_most": text}) for text in sizes]
    assert [keep.at_most for keep in keeps] == list(sizes.values())
    assert [size_text(size) for size in (7, 1.5e9, 622_000)] == ["7 B", "1.5 GB", "622 kB"]


def test_the_bound_does_not_change_what_a_run_is():
    plain = experiment()
    every, larger = (experiment(keep={"every": 5} | more) for more in ({}, {"at_most": "2 GB"}))
    assert plain.fingerprint() != every.fingerprint() == larger.fingerprint()
    assert len(KeptSteps(None, lambda duration: 1, 20)) == 0


def test_only_complete_files_count(tmp_path):
    kept = KeptWeights(tmp_path)
    kept.folder.mkdir()
    for name in ("step_000010.weights.h5", "step_1000000.weights.h5", "step_000010.part-12ab.weights.h5", "notes.txt"):
        (kept.folder / name).touch()
    assert kept.files() == {10: kept.path(10), 1_000_000: kept.path(1_000_000)}


def test_the_average_warms_up_as_in_its_formula():
    """Its values and the share of the initial weights that `average_warning` computes, in NumPy."""
    import numpy as np

    from cifarzoo.training.averaging import MovingAverage
    from cifarzoo.training.checks import _initial_share, average_warning

    for decay, steps in ((0.999, 60), (0.5, 30)):
        rule = MovingAverage(decay, warmup=True)
        average = expected = np.float64(1.0)
        for step in range(steps):
            (average,), _ = rule.update([average], [np.float64(0.0)], step)
            expected *= min(decay, (1 + step) / (10 + step))
        np.testing.assert_allclose(np.asarray(average), expected, rtol=1e-6)
        assert _initial_share(decay, True, steps) == pytest.approx(expected)
    cold, warm = (experiment(ema_decay=0.9999, ema_warmup=warmup) for warmup in (False, True))
    assert "ema_warmup: true almost nothing" in average_warning(cold, Plan(cold, 128))
    assert average_warning(warm, Plan(warm, 128)) is None


def test_kept_weights_measure_what_the_log_says(tmp_path, monkeypatch, capsys):
    """The last one is that of the final weights; the picture and the report's rows are the same numbers."""
    import json

    from evaluation_cases import run_cli

    from cifarzoo.data import load
    from cifarzoo.evaluation.trajectory import logged_or_measured, trajectory
    from cifarzoo.runs.folder import RunFolder
    from cifarzoo.runs.tables import read_table
    from cifarzoo.training.job import prepare
    from cifarzoo.training.trainer import run

    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 5}
    parameters = {
        "logdir": str(tmp_path),
        "schedule": schedule,
        "val_interval": 2,
        "ema_decay": 0.5,
        "keep": {"every": 2},
    }
    document = {"module": "tiny_models", "model": "tiny_linear", "dataset": "synthetic", "train_parameters": parameters}
    document |= {"train_split": "train45k", "val_split": "validation"}
    one = experiment_from([document], "file")
    run(prepare(one, load("synthetic")), 0)
    folder = RunFolder.of(one, 0)
    words = ["evaluate", folder.path, "--kept", "--curves", tmp_path / "curves.svg", "--format", "json"]
    status, printed, errors = run_cli(monkeypatch, capsys, *words)
    rows, log = json.loads(printed), read_table(folder.log_path)
    assert status == 0 and not errors and (tmp_path / "curves.svg").is_file()
    assert [row["step"] for row in rows] == [2, 4, 5]
    validated = {int(step): error for step, error in zip(log["step"], log["val_error"], strict=True)}
    assert [row["error"] for row in rows] == pytest.approx([validated[step] for step in (2, 4, 5)])
    assert [row["epoch"] for row in rows] == pytest.approx(
        [step * 128 / load("synthetic").size("train45k") for step in (2, 4, 5)]
    )
    for best, steps in ((3, [2, 3, 4]), (2, [2, 4])):  # as `best_weights` has it
        folder.write_results(folder.results().model_copy(update={"best_step": best}))
        assert [row["step"] for row in trajectory(folder, dataset=load("synthetic"))] == steps
    shown = logged_or_measured(folder, log, "validation", load("synthetic"))
    assert [row["error"] for row in shown] == [validated[2], validated[4]]
    folder.kept.path(2).unlink()
    status, printed, _ = run_cli(monkeypatch, capsys, "evaluate", folder.path, "--kept", "--format", "tsv")
    assert status == 0 and len(printed.splitlines()) == 3
    for words, message in (
        (["evaluate", tmp_path / "no", "--kept"], "--kept: expected the folder of one run"),
        (["evaluate", folder.path, "--curves", "x.svg"], "--curves: draws the trajectory of --kept"),
        (["evaluate", tmp_path, "--kept"], "has kept no weights along the way; train with train_parameters.keep"),
    ):
        status, _, errors = run_cli(monkeypatch, capsys, *words)
        assert status == 1 and len(errors) == 1 and message in errors[0]
