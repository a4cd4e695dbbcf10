"""Fixtures that are slow to make and shared by several test files."""

import logging
import os
import sys

import pytest
from small_zoo import ROWS, fill_zoo

from cifarzoo import errors

CACHED_FROM = "JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS"

# Says that a process has compiled many functions, as these tests together do, and would show up in any of them.
RETRACING = "triggered tf.function retracing"
logging.getLogger("tensorflow").addFilter(lambda record: RETRACING not in record.getMessage())


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A folder in which the queue has trained and published its one row, and the queue's output."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "rows.yaml").write_text(ROWS)
    (folder / "weights").mkdir()
    (folder / "weights" / "manifest.json").write_text("[]")
    first = fill_zoo(folder, "--budget", "1h")
    assert first.returncode == 0, first.stderr[-3000:]
    return folder, first.stdout


@pytest.fixture(autouse=True)
def restored_debug(monkeypatch):
    """Let no test see the --debug that an earlier one gave to the command line."""
    monkeypatch.setattr(errors, "_debug", None)


@pytest.fixture(autouse=True)
def fresh_weights_from_one_seed():
    """Give every test the same fresh weights, whatever ran before it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory):
    """Keep what XLA compiles for one test, mostly in processes of its own, for the others that run the same program."""
    kept = {name: os.environ.get(name) for name in ("JAX_COMPILATION_CACHE_DIR", CACHED_FROM)}
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")), CACHED_FROM: "0.2"}
    yield
    for name, value in kept.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value
