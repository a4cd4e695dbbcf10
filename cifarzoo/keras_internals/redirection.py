"""Redirect file descriptor 2, to which native libraries log, and drop their log lines."""

import contextlib
import faulthandler
import os
import re
import sys
import tempfile
import threading

from cifarzoo.errors import CifarzooError

# Log lines of absl and TensorFlow below "fatal", and messages of theirs that do not have their format.
CHATTER = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+:\d+\] |\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: [IWE] \S+:\d+\] "
    rb"|WARNING: All log messages before absl::InitializeLog\(\)|To enable the following instructions: "
    rb"|INFO: Created TensorFlow Lite |fully_quantize: "
)
_lock = threading.RLock()
_depth = 0


@contextlib.contextmanager
def quiet():
    """Redirect file descriptor 2 in the context, then write everything except chatter.

    After an exception that is not cifarzoo's own one line, write everything.

    Threads share the descriptor, so the output of other threads is delayed, not lost. If the process crashes, Python's
    fault handler prints the traceback, and what was redirected is lost; `CIFARZOO_DEBUG=1` redirects nothing.
    """
    global _depth
    with _lock:
        redirection = _Redirection.start() if _depth == 0 else None
        _depth += 1
    failed = True
    try:
        yield
        failed = False
    except CifarzooError:
        failed = False
        raise
    finally:
        with _lock:
            _depth -= 1
            if redirection:
                redirection.end(everything=failed)


class _Redirection:
    """A temporary file in place of file descriptor 2."""

    def __init__(self, saved, file):
        self._saved, self._file = saved, file
        self._handles_faults = not faulthandler.is_enabled()

    @classmethod
    def start(cls):
        """Redirect; return None if the descriptor is closed or no temporary file can be created."""
        _flush()
        try:
            saved = os.dup(2)
        except OSError:  # closed, as in a daemon
            return None
        try:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        except OSError:  # a full disk must not prevent training
            os.close(saved)
            return None
        redirection = cls(saved, file)
        if redirection._handles_faults:
            faulthandler.enable(saved)
        os.dup2(file.fileno(), 2)
        return redirection

    def end(self, everything):
        """Restore the descriptor and write the lines to keep."""
        _flush()
        os.dup2(self._saved, 2)
        if self._handles_faults:
            faulthandler.disable()
        os.close(self._saved)
        with self._file as file:
            file.seek(0)
            lines = file.read().splitlines(keepends=True)
        kept = b"".join(line for line in lines if everything or not CHATTER.match(line))
        with contextlib.suppress(OSError):  # the reader has closed the pipe
            while kept:
                kept = kept[os.write(2, kept) :]


def _flush():
    """Flush Python's buffers for file descriptor 2."""
    for stream in (sys.stderr, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError):  # broken, closed
            if stream:
                stream.flush()
