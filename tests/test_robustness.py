"""The programs in benchmarks/robustness run, and would notice the faults that they look for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks" / "robustness"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they fork processes and read /proc")

BAD_READERS = """
import json, os, pathlib, socket, sys, time
sys.path.insert(0, sys.argv[1])
import sandbox

def write():
    open(os.path.join(sys.argv[2], "elsewhere"), "w").close()

def spin():
    while True:
        pass

def refuse(line):
    raise PermissionError(line)

def lie():
    raise sandbox.Wrong("NaN")

READERS = {
    "good": lambda: None,
    "one line": lambda: refuse("x: not a table"),
    "two mistakes": lambda: refuse("x: not a table\\nx: not a list"),
    "an empty line": lambda: refuse("x: not\\n\\na table"),
    "an escape": lambda: refuse("x: \\x1b[2J"),
    "long line": lambda: refuse("x" * 5000),
    "wrong": lie,
    "bug": lambda: 1 / 0,
    "spins": spin,
    "sleeps": lambda: time.sleep(60),
    "greedy": lambda: bytearray(1 << 30),
    "dies": lambda: os._exit(3),
    "writes": write,
    "starts": lambda: os.system("true"),
    "connects": lambda: socket.socket().connect_ex(("127.0.0.1", 9)),
    "runs code": lambda: open("executed", "w").close(),
}

def serve(pipe):
    work = pathlib.Path(sys.argv[2]) / f"work{os.getpid()}"
    work.mkdir()
    os.chdir(work)
    watch = sandbox.Watch(work)
    while True:
        name = pipe.recv()
        pipe.send(None)
        pipe.send(sandbox.judge(READERS[name], watch, 1 << 28, (PermissionError,)))

verdicts = dict(sandbox.run_all(READERS, serve, jobs=2, limit=0.5))
print(json.dumps({name: [v.kind, bool(v.written), bool(v.executed)] for name, v in verdicts.items()}))
"""


def run(*command, timeout=500):
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, encoding="utf-8", timeout=timeout
    )


def test_the_sandbox_notices_every_fault(tmp_path):
    ended = run("-c", BAD_READERS, FOLDER, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "good": ["accepted", False, False],
        "one line": ["refused", False, False],
        "two mistakes": ["refused", False, False],
        "an empty line": ["unclear", False, False],
        "an escape": ["unclear", False, False],
        "long line": ["unclear", False, False],
        "wrong": ["wrong", False, False],
        "bug": ["traceback", False, False],
        "spins": ["hang", False, False],
        "sleeps": ["hang", False, False],
        "greedy": ["traceback", False, False],
        "dies": ["died", False, False],
        "writes": ["accepted", True, False],
        "starts": ["accepted", False, True],
        "connects": ["accepted", False, True],
        "runs code": ["accepted", False, True],
    }


def test_readers_withstand_a_few_mutated_inputs():
    ended = run(FOLDER / "mutate.py", "--inputs", 28, "--without-keras", "--jobs", 1)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| all | 3" in ended.stdout or "| all | 2" in ended.stdout


def test_readers_of_other_projects_checkpoints_withstand_mutated_inputs():
    ended = run(FOLDER / "mutate.py", "--inputs", 100, "--reader", "checkpoints of others", "--jobs", 1)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| all | 100 |" in ended.stdout


@pytest.mark.slow
def test_weight_files_and_saved_models_withstand_a_few_mutations():
    ended = run(FOLDER / "mutate.py", "--inputs", 12, "--reader", "x.weights.h5", "--reader", "x.keras", "--jobs", 1)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
def test_killed_runs_end_as_if_nobody_had_stopped_them():
    ended = run(FOLDER / "kill.py", "--kills", 3, "--case", "tensorflow")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| all | 3 |" in ended.stdout
