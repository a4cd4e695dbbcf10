"""Options that several commands share, and checks of their values."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cifarzoo.cli.completion import complete_tag
from cifarzoo.errors import DataError, ExperimentError

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and TensorFlow's messages.")]
DataDir = Annotated[str | None, typer.Option(help="Folder of the official archives. Default: $CIFARZOO_DATA.")]
# For commands that measure a model.
DatasetName = Annotated[
    str | None,
    typer.Option(
        help="cifar10, cifar100, cifar100_coarse or synthetic; or a folder of class folders, an .npz file, tfds:NAME. "
        "Default: the data set it was trained on."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Tag, checkpoint or path of the model's weights. Default: its default published weights.",
        autocompletion=complete_tag,
    ),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="Names of the classes, separated by commas, or a file with one per line. Default: those that the weights "
        "record, else those of the data set."
    ),
]
# For commands that train.
EXECUTORS = "local", "ray"
Executor = Annotated[
    str, typer.Option(help="local: here, one task after another; ray: on a Ray cluster, as many at once as fit.")
]
Address = Annotated[
    str | None, typer.Option(help="Of the Ray cluster. Default: $RAY_ADDRESS, else a new one of this machine's cores.")
]
Cpus = Annotated[int, typer.Option(min=1, help="Processor cores per task of Ray.")]
Gpus = Annotated[
    float | None, typer.Option(min=0, help="GPUs per task of Ray. Default: 1 if the cluster has any, else 0.")
]
Arguments = Annotated[list[str], typer.Option(help="KEY=VALUE, an argument of the model. Repeatable.")]


def class_names_from(text: str) -> list[str]:
    """Return the names of classes that `--class-names` means.

    Raises:
        DataError: the file cannot be read.
    """
    path = Path(text)
    if "," in text or not path.is_file():
        return [name.strip() for name in text.split(",")]
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as failure:
        raise DataError(f"{path}: cannot be read as text ({failure})") from None


def factory_arguments(items: list[str]) -> dict[str, Any]:
    """Parse the values of `--argument KEY=VALUE`, each VALUE as YAML.

    Raises:
        ExperimentError: an item is not KEY=VALUE, or its key is `load_weights`.
    """
    from cifarzoo.strict_yaml import parse

    arguments = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise ExperimentError(f"--argument {item}: expected KEY=VALUE")
        if key == "load_weights":
            raise ExperimentError(f"--argument {item}: use --weights to choose the weights")
        arguments[key] = parse(value, f"--argument {item}")
    return arguments


def check_executor(context: typer.Context, executor: str) -> None:
    """Raise ExperimentError for an unknown executor, or for options that it does not have."""
    if executor not in EXECUTORS:
        raise ExperimentError(f"--executor {executor}: expected {' or '.join(EXECUTORS)}")
    if executor == "local":
        refuse(context, "--executor local", "address cpus gpus")


def refuse(context: typer.Context, why: str, names: str) -> None:
    """Refuse options that `why` would silently override.

    Args:
        context: The command's context.
        why: The option or mode that overrides them, for the message.
        names: The parameters to refuse, separated by spaces.

    Raises:
        ExperimentError: one of them is on the command line.
    """
    for parameter in context.command.params:
        if parameter.name not in names.split():
            continue
        source = context.get_parameter_source(parameter.name)
        if source is not None and source.name == "COMMANDLINE":
            is_option = parameter.param_type_name == "option"
            received = parameter.opts[0] if is_option else context.params[parameter.name]
            raise ExperimentError(f"{received}: has no meaning with {why}; leave it out")
