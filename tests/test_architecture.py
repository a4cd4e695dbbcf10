"""What holds for every module: its length, its text files, no calls that only Unix has; and checks that agree."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "cifarzoo").rglob("*.py"))
LONGEST = 300
# Functions and constants of `os` and `signal` that Windows lacks. A module that uses one asks with `hasattr` first.
UNIX_ONLY = {
    "os": {"O_DIRECTORY", "fork", "getpgid", "getpgrp", "getuid", "killpg", "mkfifo", "nice", "setpgid", "setsid"}
    | {"statvfs", "sysconf", "uname", "wait", "waitpid"},
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause"}
    | {"pthread_sigmask", "setitimer", "sigwait"},
}
UNIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}


@pytest.fixture(scope="module")
def trees():
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def test_a_long_module_says_why(trees):
    for path, tree in trees.items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGEST or f"Longer than {LONGEST} lines because" in ast.get_docstring(tree), (path, lines)


def without_encoding(call):
    """Whether a call reads or writes text in the encoding that the system happens to have."""
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    owner = getattr(call.func.value, "id", "") if method else ""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords or owner in ("os", "gzip", "tarfile", "zipfile", "archive", "atomic"):
        return False  # `atomic.write_text` brings its encoding, and members of an `archive` are bytes
    if name in ("open", "fdopen", "NamedTemporaryFile"):
        modes = [*call.args[0 if method else 1 :][:1], keywords.get("mode")]
        return not any(isinstance(mode, ast.Constant) and "b" in mode.value for mode in modes)
    if method and name in ("read_text", "write_text"):
        return len(call.args) <= (name == "write_text")
    return owner == "subprocess" and "text" in keywords


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, 'rb')", False),
        ("open(path, encoding='utf-8')", False),
        ("path.open('a')", True),
        ("path.open('ab')", False),
        ("os.open(path, 0)", False),
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("read_text(path)", False),
        ("atomic.write_text(path, text)", False),
        ("subprocess.run(command, text=True)", True),
    ],
)
def test_calls_without_an_encoding_are_recognized(line, expected):
    assert without_encoding(ast.parse(line).body[0].value) is expected


def test_text_files_are_utf8_on_every_system(trees):
    calls = [(path, node) for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [f"{path}:{call.lineno}" for path, call in calls if without_encoding(call)]


def test_nothing_needs_unix(trees):
    for path, tree in trees.items():
        asked = {
            node.args[1].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("hasattr", "getattr")
            if isinstance(node.args[1], ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & UNIX_MODULES, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in UNIX_MODULES, path
                assert not {alias.name for alias in node.names} & UNIX_ONLY.get(node.module, set()), path
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                is_unix = node.attr in UNIX_ONLY.get(node.value.id, set())
                assert not is_unix or node.attr in asked, f"{path}:{node.lineno}: {node.value.id}.{node.attr}"


def test_pre_commit_and_ci_run_the_same_checks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    commands = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert commands == re.findall(r'^part "(?:ruff.*|mypy)" (.+)$', ci, re.MULTILINE)
