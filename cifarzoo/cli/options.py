"""What several commands share: options, arguments in YAML, options that exclude each other."""

import os
import sys
from typing import Annotated

import typer

from cifarzoo.errors import ExperimentError

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DataDir = Annotated[str | None, typer.Option(help="Folder with the official archives; default $CIFARZOO_DATA.")]


def find_modules_here():
    """Make the working directory a place for the `module` of a run."""
    sys.path.insert(0, os.getcwd())


def factory_arguments(items):
    """What `--argument KEY=VALUE` was given, values in YAML."""
    from cifarzoo.training.reading import parse_yaml

    pairs = ((item, *item.partition("=")) for item in items)
    return {key: parse_yaml(value, f"--argument {item}") for item, key, _, value in pairs}


def refuse(context, why, names):
    """Raise an ExperimentError if one of these options is given, which `why` would silently overrule."""
    for name in names.split():
        if context.get_parameter_source(name).name == "COMMANDLINE":
            raise ExperimentError(f"--{name.rstrip('_').replace('_', '-')}: has no meaning with {why}; leave it out")
