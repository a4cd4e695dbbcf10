"""The command line `cifarzoo`: one module per group of commands, one function per command.

`main` is imported before anything else, so that Ctrl-C and every failure end in one line from the first moment on.
"""

import os
import sys
from typing import NoReturn

from cifarzoo.errors import one_line, set_debug, summarize
from cifarzoo.keras_internals import quiet_start


def main() -> NoReturn:
    """Run the command line and exit.

    The status is 0, 1 after an error, 2 if the command line is wrong, 130 after Ctrl-C. An error is one line on stderr;
    `--debug` and `CIFARZOO_DEBUG=1` show its traceback and what TensorFlow prints at its start.
    """
    debug = "--debug" in sys.argv or quiet_start.debugging()
    if debug:
        quiet_start.uninstall()
    set_debug(debug)
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal cannot show must not end a command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from cifarzoo.cli.application import command

        status = command()(standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except Exception as failure:
        if nobody_reads():
            sys.exit(1)
        if hasattr(failure, "format_message"):  # of the library that parses the command line
            _end(_usage(failure), 2)
        if debug:
            raise
        _end(_line(failure))
    if status == 130:
        _end("interrupted", 130)
    sys.exit(status if isinstance(status, int) else 0)


def nobody_reads() -> bool:
    """Whether standard output goes to a process that has ended, such as `head`; drops what is left to write then."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    except (OSError, ValueError):
        pass
    return False


def _line(failure: Exception) -> str:
    """Return one line about an exception that no command has handled."""
    if isinstance(failure, ModuleNotFoundError) and failure.name in ("tensorflow", "jax", "torch"):
        return f"{failure.name} is not installed: pip install {failure.name}, or choose another backend"
    if isinstance(failure, OSError) and failure.filename is not None:
        return one_line(f"{failure.filename}: {failure.strerror}")
    if isinstance(failure, MemoryError):
        return "the memory of this machine is not enough"
    return summarize(failure)


def _usage(failure: object) -> str:
    """Return one line about a wrong command line."""
    context = getattr(failure, "ctx", None)
    hint = f"; {context.command_path} --help shows what is valid" if context else ""
    return one_line(failure.format_message()).rstrip(".") + hint  # type: ignore[attr-defined]


def _end(reason: str, status: int = 1) -> NoReturn:
    for line in reason.split("\n"):
        print(f"cifarzoo: error: {one_line(line)}", file=sys.stderr)
    sys.exit(status)
