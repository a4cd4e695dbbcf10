"""The command line's options for measuring: those that exclude each other, and errors in one line."""

from pathlib import Path

import pytest
from evaluation_cases import run_cli

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--all", "--flip"], "--flip: has no meaning with --all"),
        (
            ["evaluate", "--from-logits", "x.npz", "--dataset", "cifar10"],
            "--dataset: has no meaning with --from-logits",
        ),
        (["sharpness", "x", "--compat", "cifar_jax", "--loss", "squared"], "--loss: has no meaning with --compat"),
        (["sharpness", "x", "--on", "test", "--batch-size", "9"], "--batch-size: has no meaning with --on test"),
        (["sharpness", "x", "--measure", "ntk_trace", "--epsilon", "1"], "--epsilon: has no meaning with --measure"),
        (["evaluate", "--from-logits", "x.npz", "--data-dir", "."], "--data-dir: has no meaning with --from-logits"),
        (["sharpness", "x", "--devices", "4"], "--devices: has no meaning with the measures of this package"),
        (["fill-zoo", "--plan", "--budget", "1h"], "--budget: has no meaning with --plan"),
        (["train", "mine.yaml", "--quickstart"], "mine.yaml: has no meaning with --quickstart"),
        (["train", "--dry-run", "--eval"], "--eval: has no meaning with --dry-run"),
        (["evaluate", str(ROOT), "--weights", "my.weights.h5"], "has its own weights and arguments"),
        (["evaluate", "x", "y", "--weights", "z"], "--weights: has no meaning with several models"),
        (["evaluate", "x.keras", "--argument", "depth=10"], "x.keras: has its own weights and arguments"),
        (["evaluate", "resnet20_v2_cifar10_brief_s0", "--weights", "x"], "has its own weights and arguments"),
    ],
)
def test_options_that_would_be_overruled_are_refused(monkeypatch, capsys, arguments, message):
    status, _, errors = run_cli(monkeypatch, capsys, *arguments)
    assert status == 1 and len(errors) == 1 and message in errors[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "expected exactly one of a model (or several), --all and --from-logits"),
        (["evaluate", "cifar_resnet20", "--all"], "expected exactly one of"),
        (["evaluate", "cifar_resnet20", "--argument", "classes"], "--argument classes: expected KEY=VALUE"),
        (["evaluate", "cifar_resnet20", "--argument", "load_weights=x"], "use --weights to choose the weights"),
        (["evaluate", "cifar_resnet20", "--format", "xml"], "--format xml: expected table, markdown, tsv, csv or json"),
        (["evaluate", "cifar_resnet20", "--logits", "nowhere/x.npz"], "nowhere/x.npz: there is no folder nowhere"),
        (["evaluate", "EMPTY"], "not a finished run: config.yaml and final.weights.h5 are expected"),
        (["report", "EMPTY"], "not a finished run: results.json"),
        (["report", "nowhere"], "nowhere: not a finished run"),
        (["log", "EMPTY"], "log.tsv: cannot be read"),
        (["evaluate", "--all", "--dataset", "mnist"], "no published weights for the data set 'mnist'"),
        (["evaluate", "gone/resnet20_v2_cifar10_brief_s0"], "unknown model 'gone/resnet20_v2_cifar10_brief_s0'"),
    ],
)
def test_wrong_commands_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    arguments = [str(tmp_path) if word == "EMPTY" else word for word in arguments]
    status, _, errors = run_cli(monkeypatch, capsys, *arguments)
    assert status == 1 and len(errors) == 1 and message in errors[0]
