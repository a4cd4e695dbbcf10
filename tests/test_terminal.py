"""What commands and the progress bar look like on a terminal of 80 columns, and in pipes."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rich.console

from cifarzoo.cli.output import rich_table
from cifarzoo.models.catalogue import catalogue
from cifarzoo.pretrained.manifest import manifest

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
termios = pytest.importorskip("termios")
pyte = pytest.importorskip("pyte")

ROOT = Path(__file__).parent.parent
NAME = "cifar10_resnet20_baseline-weight_decay_0.0001[/x]"
# Two seeds side by side, fed as the loop feeds them.
RUN = f"""
import sys, time
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training.progress import Progress
parameters = {{"schedule": {{"kind": "constant", "learning_rate": 1, "duration": 64000}},
               "log_interval": 500, "val_interval": 1000}}
plan = Plan(Experiment.model_validate({{"model": "cifar_resnet20", "train_parameters": parameters}}), 50000)
bars = [Progress(f"{NAME} seed{{seed}}", plan, 0) for seed in range(int(sys.argv[1]))]
for bar in bars:
    bar.on_train_begin()
for step in range(500, 2000, 500):
    for bar in bars:
        logs = {{"images_per_second": 12345.6, "loss": 1.813, "error": 75.2}}
        bar.on_train_batch_end(step - 1, logs | ({{"val_error": 72.4}} if step == 1000 else {{}}))
for bar in bars:
    bar.on_train_end()
"""


def environment():
    return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "KERAS_BACKEND": "jax", "TERM": "xterm-256color"}


def read(terminal):
    """What was written to a terminal, b"" at its end, which Linux reports as an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def screen(arguments, columns=80, cwd=None):
    """The lines that a command leaves on a terminal, and those above it."""
    # Not `pty.fork` (nor pexpect, which calls it): JAX warns of forks once another test in this process has started it.
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    command = [sys.executable, *map(str, arguments)]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), cwd=cwd)
    os.close(theirs)
    output = b"".join(iter(lambda: read(ours), b""))
    os.close(ours)
    child.wait(120)
    terminal = pyte.HistoryScreen(columns, 24, history=500, ratio=1)
    pyte.ByteStream(terminal).feed(output)
    above = ["".join(row[column].data for column in range(columns)) for row in terminal.history.top]
    return [line.rstrip() for line in [*above, *terminal.display]]


def test_list_shows_every_name_and_size_whole():
    lines = screen(["-m", "cifarzoo", "list"])
    for name, record in catalogue().items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.split()[1] == f"{record.total['10']:,}"
    assert lines[0].split() == ["CIFAR-10", "CIFAR-100"]
    assert "paper" not in lines[1] and lines[1].split() == "model parameters MMACs error % error %".split()
    errors = [
        entry.metrics["error"] for entry in manifest() if (entry.model, entry.dataset) == ("cifar_resnet20", "cifar10")
    ]
    assert f"{min(errors):.2f}" in next(line for line in lines if line.startswith("cifar_resnet20 "))
    assert "wide_resnet" in lines  # a heading


def test_the_bar_shows_everything_at_80_columns():
    lines = [line for line in screen(["-c", RUN, 2]) if line]
    assert len(lines) == 4  # two seeds side by side
    for seed, (name, status) in enumerate((lines[:2], lines[2:])):
        assert name.startswith("cifar10_") and "…" in name and f"[/x] seed{seed}  ━" in name
        assert " 1500/64000  0:0" in name and name.endswith(" left")
        assert status == "  12,346 images/s  val error 72.40 % at step 1000  loss 1.813  error 75.2 %"


def test_a_narrow_terminal_loses_the_training_loss_first():
    from cifarzoo.training.progress import RunProgress

    console = rich.console.Console(file=io.StringIO(), width=60, color_system=None)
    logs = {"images_per_second": 12345.6, "loss": 1.813, "error": 75.2}
    console.print(RunProgress(f"{NAME} seed0", 64000, 30000, logs, left=9000, validation=(72.4, 20000)))
    name, status = console.file.getvalue().splitlines()
    assert "━" in name and "seed0 " in name and name.rstrip().endswith("  30000/64000  2:30:00 left")
    assert status.startswith("  12,346 images/s  val error 72.40 % at step 20000 ") and len(status) == 60


def test_a_pipe_gets_plain_lines_and_validations_only_where_measured():
    result = subprocess.run([sys.executable, "-c", RUN, "1"], capture_output=True, text=True, env=environment())
    lines = result.stderr.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"{NAME} seed0: step {step}/64000" for step in (500, 1000, 1500)]
    assert ["val error 72.40 %" in line for line in lines] == [False, True, False]
    assert all("  12,346 images/s  loss 1.813  error 75.2 %  " in line and line.endswith(" left") for line in lines)


def test_the_table_at_the_end_folds_names_and_cuts_no_number():
    from cifarzoo.cli.training import RESULT_COLUMNS

    rows = [
        {"experiment": NAME, "seed": 0, "dataset": "cifar10", "state": "finished", "split": "test", "error": 8.35}
        | {"nll": 67038920.5, "steps": 64000, "minutes": 1234.5},
        {"experiment": "[/x]", "seed": 1, "dataset": "cifar10", "state": "failed"},
    ]
    console = rich.console.Console(file=io.StringIO(), width=80, color_system=None)
    console.print(rich_table(rows, RESULT_COLUMNS, 80))
    lines = console.file.getvalue().splitlines()
    assert "".join(line.split(" ")[0] for line in lines[1:3]) == NAME
    assert {"8.35", "6.704e+07", "1,234.5", "finished"} <= set(" ".join(lines).split())
    assert lines[3].split() == ["[/x]", "1", "failed"]
    assert "steps, data, split" in lines[4]


def test_show_fits_80_columns():
    lines = screen(["-m", "cifarzoo", "show", "cifar_resnet20"])
    assert lines[0] == "cifar_resnet20(block_type='original', shortcut_type='A')"
    assert any(line.split()[0] == "resnet20_v1_cifar10_short_s0" and "8.35" in line for line in lines if line)
