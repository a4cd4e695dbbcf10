"""The command line `cifarzoo`: one module per group of commands, one function per command.

Import `main` before anything else, so that Ctrl-C and failures end in one line even during imports.
"""

import os
import sys
from typing import NoReturn

from cifarzoo.errors import one_line, set_debug, summarize
from cifarzoo.keras_internals import quiet_start


def main() -> NoReturn:
    """Run the command line and exit.

    The status is 0 on success, 1 after an error, 2 if the command line is wrong, and 130 after Ctrl-C. An error is one
    line on stderr; `--debug` and `CIFARZOO_DEBUG=1` show its traceback and TensorFlow's start-up messages.
    """
    debug = "--debug" in sys.argv or quiet_start.debugging()
    if debug:
        quiet_start.uninstall()
    set_debug(debug)
    if hasattr(sys.stdout, "reconfigure"):  # escape names that the terminal cannot show instead of failing
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from cifarzoo.cli.application import command

        status = command()(standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except Exception as failure:
        if _stdout_is_closed():
            sys.exit(1)
        if hasattr(failure, "format_message"):  # a usage error found by the command-line parser
            _end(_usage(failure), 2)
        if debug:
            raise
        _end(_line(failure))
    if status == 130:
        _end("interrupted", 130)
    sys.exit(status if isinstance(status, int) else 0)


def _stdout_is_closed() -> bool:
    """Whether the reader of stdout, such as `head`, has closed the pipe; if so, discard the remaining output."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    except (OSError, ValueError):
        pass
    return False


def _line(failure: Exception) -> str:
    """Describe an unhandled exception in one line."""
    if isinstance(failure, ModuleNotFoundError) and failure.name in ("tensorflow", "jax", "torch"):
        return f"{failure.name} is not installed: pip install {failure.name}, or choose another backend"
    if isinstance(failure, OSError) and failure.filename is not None:
        return one_line(f"{failure.filename}: {failure.strerror}")
    if isinstance(failure, MemoryError):
        return "out of memory"
    return summarize(failure)


def _usage(failure: object) -> str:
    """Describe a wrong command line in one line."""
    context = getattr(failure, "ctx", None)
    hint = f"; {context.command_path} --help shows what is valid" if context else ""
    return one_line(failure.format_message()).rstrip(".") + hint  # type: ignore[attr-defined]


def _end(reason: str, status: int = 1) -> NoReturn:
    for line in reason.split("\n"):
        print(f"cifarzoo: error: {one_line(line)}", file=sys.stderr)
    sys.exit(status)
