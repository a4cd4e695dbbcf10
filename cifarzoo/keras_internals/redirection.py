"""Redirect file descriptor 2, where native libraries log, and drop the lines of their logs."""

import contextlib
import faulthandler
import os
import re
import sys
import tempfile
import threading

# A line of absl's log or of TensorFlow's own, below "fatal", and the two lines without their form.
CHATTER = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+:\d+\] |\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: [IWE] \S+:\d+\] "
    rb"|WARNING: All log messages before absl::InitializeLog\(\)|To enable the following instructions: "
)
_lock = threading.RLock()
_depth = 0


@contextlib.contextmanager
def quiet():
    """Redirect file descriptor 2 in the context, and write at its end what is no chatter; after an exception, all.

    Threads share the descriptor, so what others write meanwhile is delayed, never lost. Where the process crashes,
    Python's fault handler says where.
    """
    global _depth
    with _lock:
        redirection = _Redirection.start() if _depth == 0 else None
        _depth += 1
    failed = True
    try:
        yield
        failed = False
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
        """Redirect; returns None where there is no such descriptor or nowhere to write."""
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
        """Restore the descriptor and write what was kept."""
        _flush()
        os.dup2(self._saved, 2)
        if self._handles_faults:
            faulthandler.disable()
        os.close(self._saved)
        with self._file as file:
            file.seek(0)
            lines = file.read().splitlines(keepends=True)
        kept = b"".join(line for line in lines if everything or not CHATTER.match(line))
        with contextlib.suppress(OSError):  # nobody reads
            while kept:
                kept = kept[os.write(2, kept) :]


def _flush():
    """Flush what Python holds back for file descriptor 2."""
    for stream in (sys.stderr, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError):  # broken, closed
            if stream:
                stream.flush()
