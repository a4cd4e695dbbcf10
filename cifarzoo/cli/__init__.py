"""The command line `cifarzoo`: one module per group of commands, one function per command."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from cifarzoo._version import __version__
from cifarzoo.cli import augmentation, evaluation, models, sharpness, training, weights
from cifarzoo.errors import CifarzooError, set_debug

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (models, training, evaluation, sharpness, augmentation, weights):
    app.add_typer(group.commands)


def main() -> None:
    """Run the command line; an error that the user can correct is one line and exit status 1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up messages would hide the progress
    debug = "--debug" in sys.argv
    set_debug(debug)
    try:
        app()
    except CifarzooError as failure:
        if debug:
            raise
        _end(str(failure))
    except ModuleNotFoundError as missing:
        if missing.name not in ("tensorflow", "jax", "torch") or debug:
            raise
        name = missing.name
        _end(f"{name} is not installed: pip install {name}, or choose another backend")


def _end(reason: object) -> NoReturn:
    print(f"cifarzoo: error: {reason}", file=sys.stderr)
    sys.exit(1)


@app.callback(invoke_without_command=True)
def cifarzoo(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """A Keras 3 model zoo for CIFAR-10 and CIFAR-100."""
    if version:
        print(f"cifarzoo {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
