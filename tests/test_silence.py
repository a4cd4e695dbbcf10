"""TensorFlow starts without a line on stderr, and nothing that matters is lost with the lines."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cifarzoo.keras_internals.redirection import CHATTER

ROOT = Path(__file__).parent.parent
CHATTER_LINES = b"""\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795666820.827083   10411 port.cc:153] oneDNN custom operations are on. You may see slightly different
E0000 00:00:1795666823.443708   10411 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: Failed call
2026-11-26 04:14:51.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow binary is optimized
To enable the following instructions: AVX2 AVX512F AVX512_VNNI, in other operations, rebuild TensorFlow
"""
OTHER_LINES = b"""\
F0000 00:00:1795666823.443708   10411 cpu_feature_guard.cc:38] The TensorFlow library was compiled to use AVX
Traceback (most recent call last):
/site-packages/x.py:3: UserWarning: W0000 is a warning
WARNING: something else
INFO:tensorflow:a line of Python's logging
"""
# Prints as TensorFlow does, from C, with Python's own output between.
TENSORFLOW = f"""
import os, sys
os.write(2, {CHATTER_LINES!r})
os.write(2, {OTHER_LINES!r})
print("from Python", file=sys.stderr)
"""
USE = "import cifarzoo, sys; import tensorflow; print('still here', file=sys.stderr)"


def python(code, path="", **environment):
    """Run Python without this process' settings for TensorFlow's log."""
    clean = {key: value for key, value in os.environ.items() if key not in ("TF_CPP_MIN_LOG_LEVEL", "CIFARZOO_DEBUG")}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        timeout=300,
        env=clean | {"PYTHONPATH": f"{path}:{ROOT}"} | environment,
    )


@pytest.fixture
def fake(tmp_path):
    """A function that runs code with a module `tensorflow` of this source."""

    def run(source, code=USE, **environment):
        (tmp_path / "tensorflow.py").write_text(source, encoding="utf-8")
        return python(code, path=tmp_path, **environment)

    return run


@pytest.mark.parametrize("line", CHATTER_LINES.splitlines())
def test_chatter_is_recognized(line):
    assert CHATTER.match(line)


@pytest.mark.parametrize("line", OTHER_LINES.splitlines())
def test_other_lines_are_no_chatter(line):
    assert not CHATTER.match(line)


def test_building_and_predicting_print_nothing():
    code = """
import cifarzoo, numpy
model = cifarzoo.create_model("cifar_resnet20")
print(model.predict(numpy.zeros((1, 32, 32, 3)), verbose=0).shape)
"""
    result = python(code)
    assert (result.stdout, result.stderr, result.returncode) == (b"(1, 10)\n", b"", 0)


def test_what_is_no_chatter_appears_when_tensorflow_is_loaded(fake):
    assert fake(TENSORFLOW).stderr == OTHER_LINES + b"from Python\nstill here\n"


def test_a_failed_import_shows_every_byte(fake):
    result = fake(TENSORFLOW + "raise ImportError('libcudart.so.13: not found')\n")
    assert result.stderr.startswith(CHATTER_LINES + OTHER_LINES + b"from Python\nTraceback")
    assert b"libcudart.so.13: not found" in result.stderr and result.returncode == 1


def test_a_crash_says_where(fake):
    result = fake("import os; os.abort()")
    assert result.returncode < 0
    assert b"Fatal Python error: Aborted" in result.stderr and b"tensorflow.py" in result.stderr


def test_debugging_shows_what_came_before_a_crash(fake):
    result = fake(TENSORFLOW + "os.abort()", CIFARZOO_DEBUG="1")
    assert result.returncode < 0 and result.stderr.startswith(CHATTER_LINES + OTHER_LINES)


def test_debugging_shows_everything(fake):
    everything = CHATTER_LINES + OTHER_LINES + b"from Python\nstill here\n"
    assert fake(TENSORFLOW, CIFARZOO_DEBUG="1").stderr == everything
    assert fake(TENSORFLOW, CIFARZOO_DEBUG="0").stderr != everything
    command = "import sys; sys.argv = ['cifarzoo', 'list', 'x', '--debug']; from cifarzoo import cli\n"
    later = "try: cli.main()\nexcept BaseException: pass\nimport tensorflow"
    assert CHATTER_LINES in fake(TENSORFLOW, command + later).stderr


def test_where_stderr_is_closed(fake):
    code = "import os, cifarzoo\nos.close(2)\nimport tensorflow\nprint('end')"
    assert fake("x = 1", code).stdout == b"end\n"


def test_looking_for_tensorflow_neither_imports_it_nor_changes_its_loader(fake):
    code = """
import cifarzoo, importlib.util, sys
spec = importlib.util.find_spec("tensorflow")
assert "tensorflow" not in sys.modules
import tensorflow
print(type(tensorflow.__spec__.loader).__name__, type(tensorflow.__loader__).__name__, spec.loader.path)
"""
    names = fake("", code).stdout.split()
    assert names[:2] == [b"SourceFileLoader"] * 2 and names[2].endswith(b"tensorflow.py")


def test_threads_share_one_redirection(capfd):
    import threading

    from cifarzoo.keras_internals.redirection import quiet

    os.write(2, b"before\n")
    with quiet():
        thread = threading.Thread(target=lambda: os.write(2, b"from a thread\n" + CHATTER_LINES))
        thread.start()
        thread.join()
        with quiet():
            os.write(2, b"inner\n")
        os.write(2, b"outer\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nfrom a thread\ninner\nouter\nafter\n"


def test_tensorflow_is_installed_for_these_tests():
    assert importlib.util.find_spec("tensorflow")
