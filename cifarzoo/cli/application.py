"""All commands as one application, whose help shows flags without a type."""

from typing import Annotated, Any

import typer
import typer.main

from cifarzoo._version import __version__
from cifarzoo.cli import (
    atlas,
    augmentation,
    averaging,
    conversion,
    evaluation,
    export,
    models,
    predict,
    schema,
    search,
    sharpness,
    show,
    training,
    weights,
)
from cifarzoo.cli.guide import EPILOG, add_guide

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(pretty_exceptions_enable=False, context_settings=HELP)
for group in (
    models,
    show,
    predict,
    training,
    search,
    evaluation,
    averaging,
    sharpness,
    augmentation,
    atlas,
    weights,
    conversion,
    export,
    schema,
):
    app.add_typer(group.commands)


@app.callback(
    invoke_without_command=True,
    epilog=EPILOG,
)
def cifarzoo(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """A Keras 3 model zoo for CIFAR-10 and CIFAR-100."""
    if version:
        print(f"cifarzoo {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def command() -> Any:
    """Return the application as a command that can be called."""
    root = typer.main.get_command(app)
    add_guide(root)
    _hide_types_of_flags(root, typer.Context(root, help_option_names=HELP["help_option_names"]))
    return root


def _hide_types_of_flags(group: Any, context: Any) -> None:
    """Show `--flip` in the help instead of `--flip <bool>`."""
    for parameter in group.get_params(context):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for child in getattr(group, "commands", {}).values():
        _hide_types_of_flags(child, typer.Context(child, parent=context))
