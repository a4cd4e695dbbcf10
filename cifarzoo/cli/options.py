"""What several commands share: options, arguments in YAML, options that exclude each other."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.errors import ExperimentError

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DataDir = Annotated[str | None, typer.Option(help="Folder with the official archives; default $CIFARZOO_DATA.")]
# Of commands that measure a model.
DatasetName = Annotated[
    str | None, typer.Option(help="cifar10, cifar100 or synthetic; default: what it was trained on.")
]
Weights = Annotated[str | None, typer.Option(help="Tag or path of the weights, instead of the default ones.")]
Arguments = Annotated[list[str], typer.Option(help="KEY=VALUE for the factory; may be repeated.")]


def find_modules(folder: Path) -> None:
    """Make a folder a place for the `module` of experiments and runs."""
    sys.path.insert(0, str(folder.resolve()))


def factory_arguments(items):
    """What `--argument KEY=VALUE` was given, values in YAML."""
    from cifarzoo.strict_yaml import parse

    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise ExperimentError(f"--argument {item}: expected KEY=VALUE")
        if key == "load_weights":
            raise ExperimentError(f"--argument {item}: weights are given by --weights")
        found[key] = parse(value, f"--argument {item}")
    return found


def refuse(context, why, names):
    """Raise an ExperimentError if one of these options is given, which `why` would silently overrule."""
    for parameter in context.command.params:
        if parameter.name in names.split() and context.get_parameter_source(parameter.name).name == "COMMANDLINE":
            is_option = parameter.param_type_name == "option"
            given = parameter.opts[0] if is_option else context.params[parameter.name]
            raise ExperimentError(f"{given}: has no meaning with {why}; leave it out")
