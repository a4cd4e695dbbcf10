"""The progress bar of the commands."""

import os
import subprocess
import sys

IN_A_REDIRECTION = """
import os, time
from cifarzoo.cli.progress import progress_bar
from cifarzoo.keras_internals.redirection import quiet

with progress_bar() as show, quiet():
    show("converting", 0.5)
    time.sleep(0.5)
    os._exit(0)  # what was redirected is lost
"""


def test_the_bar_moves_while_messages_are_redirected():
    master, slave = os.openpty()
    with os.fdopen(master, "rb", buffering=0) as terminal:
        with os.fdopen(slave, "wb") as stderr:
            subprocess.run([sys.executable, "-c", IN_A_REDIRECTION], stderr=stderr, check=True)
        assert b"converting" in terminal.read(100_000)


def test_nothing_is_shown_elsewhere():
    done = subprocess.run([sys.executable, "-c", IN_A_REDIRECTION], capture_output=True, check=True)
    assert done.stderr == b""
