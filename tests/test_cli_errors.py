"""The command line ends in one line and the right status, whatever goes wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from evaluation_cases import run_cli

from cifarzoo.cli import application, main
from cifarzoo.errors import LONGEST_LINE, one_line

ROOT = Path(__file__).parent.parent
LONG = "a" * 300


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["list", "--nope"], "No such option: --nope; ", 2),
        (["no\x1b]0;x\x07pe"], r"No such command 'no\x1b]0;x\x07pe'; ", 2),
        (["table"], "Missing argument", 2),
        (["list", "--format", "x\x1b[2J"], r"--format x\x1b[2J: expected table, markdown, tsv, csv or json", 1),
        (["list", "no\nsuch"], r"list no\nsuch: no model matches", 1),
        (["show", LONG], "unknown model", 1),
        (["show", "a\x1b[2Jb.weights.h5"], r"a\x1b[2Jb.weights.h5", 1),
        (["show", f"{LONG}.weights.h5"], "", 1),
        (["table", LONG], "File name too long", 1),
        (["log", LONG], "", 1),
        (["report", LONG], "", 1),
        (["publish", LONG, "tag"], "", 1),
        (["evaluate", LONG], "File name too long", 1),
        (["evaluate", "cifar_resnet20", "--data-dir", LONG], "", 1),
        (["evaluate", "cifar_resnet20", "--weights", LONG], "", 1),
        (["evaluate", "cifar_resnet20", "--argument", f"classes=0x{'f' * 4000}"], "", 1),
        (["evaluate", "cifar_resnet20", "--argument", "name=[1]"], "", 1),
        pytest.param(
            ["evaluate", "cifar_resnet20", "--argument", "classes=10000000000000"], "", 1, marks=pytest.mark.slow
        ),
        (["train", f"{LONG}.yaml"], "", 1),
        (["train"], "or try cifarzoo train --quickstart", 1),
    ],
)
def test_every_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments, message, status):
    monkeypatch.chdir(tmp_path)
    found, out, errors = run_cli(monkeypatch, capsys, *arguments)
    assert found == status and out == ""
    (line,) = errors
    assert line.startswith("cifarzoo: error: ") and message in line
    assert line.isprintable() and len(line) < LONGEST_LINE + 50


def test_any_exception_is_one_line_and_debug_shows_its_traceback(monkeypatch, capsys):
    def broken():
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr(application, "command", broken)
    monkeypatch.delenv("CIFARZOO_DEBUG", raising=False)
    assert run_cli(monkeypatch, capsys, "list") == (
        1, "", ["cifarzoo: error: ZeroDivisionError: first line (--debug shows where)"],
    )  # fmt: skip
    monkeypatch.setenv("CIFARZOO_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["cifarzoo", "list"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_interruptions_are_one_line(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(application, "command", interrupted)
    assert run_cli(monkeypatch, capsys, "list") == (130, "", ["cifarzoo: error: interrupted"])


def test_a_name_that_the_terminal_cannot_show_is_no_error(tmp_path):
    (tmp_path / "config.yaml").write_text("model: cifar_resnet20\ndescription: Größe\n", encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "cifarzoo", "show", tmp_path],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
    )
    assert result.returncode == 0 and rb"description: Gr\xf6\xdfe" in result.stdout, result.stderr


def test_a_reader_that_stops_reading_is_no_error(tmp_path):
    command = f"'{sys.executable}' -m cifarzoo list | head -1; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert result.stdout.startswith("| model |") and result.stderr == ""
    assert result.returncode in (0, 1, -signal.SIGPIPE)  # 0 if the list was written before head ended


def test_long_lines_lose_their_middle():
    line = one_line("x" * 5000 + "end")
    assert len(line) == LONGEST_LINE and line.endswith("end") and " … " in line
    assert one_line("a\nb") == r"a\nb"


def test_flags_have_no_type_in_the_help(monkeypatch, capsys):
    for arguments in (["-h"], ["list", "-h"], ["evaluate", "--help"], ["train", "-h"], ["sharpness", "-h"]):
        status, out, _ = run_cli(monkeypatch, capsys, *arguments)
        assert status == 0 and "<bool>" not in out and "--help" in out
        assert "--no-" not in out
