"""The command that writes a model in a format that opens without cifarzoo."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cifarzoo.cli.completion import complete_network
from cifarzoo.cli.options import (
    Arguments,
    ClassNames,
    DataDir,
    DatasetName,
    Debug,
    Weights,
    class_names_from,
    factory_arguments,
)
from cifarzoo.cli.output import Format, print_record
from cifarzoo.cli.progress import progress_bar
from cifarzoo.exporting.formats import FORMATS, format_named
from cifarzoo.user_code import find_modules

commands = typer.Typer()


@commands.command()
def export(
    model: Annotated[
        str,
        typer.Argument(
            help="Name of a model, tag or file of published weights, .keras file, or folder of a run.",
            autocompletion=complete_network,
        ),
    ],
    out: Annotated[
        Path | None, typer.Argument(help="File or folder to write. Default: the model's name, here, unless it exists.")
    ] = None,
    to: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}.")] = ...,  # type: ignore[assignment]
    dataset: DatasetName = None,
    weights: Weights = None,
    argument: Arguments = [],  # noqa: B006
    layout: Annotated[
        str | None,
        typer.Option(help="For OUT.pth: whose code's names, such as pytorchcv. Default: the first fit."),
    ] = None,
    class_names: ClassNames = None,
    form: Format = "",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Write a model as SavedModel, ONNX, LiteRT, OpenVINO or PyTorch program, and check what the file computes."""
    format_named(to, str(out or "")).load()
    find_modules(Path())
    arguments = factory_arguments(argument)
    names = None if class_names is None else class_names_from(class_names)
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.exporting.export import export as export_model

        row = export_model(
            model,
            to,
            out,
            dataset=dataset,
            data_dir=data_dir,
            weights=weights,
            arguments=arguments,
            layout=layout,
            class_names=names,
            progress=show,
        )
    print_record(row["model"], _fields(row), form, row)


def _fields(row: dict[str, Any]) -> dict[str, str | None]:
    stand_in = f", embedded images: {row['replaces']} is not on this machine" if row["replaces"] else ""
    measured = None
    if "error" in row:
        measured = f"{row['error']:.2f} %, in float32 {row['error_before']:.2f} %"
    return {
        "file": f"{row['path']}, {row['bytes'] / 1e6:.2f} MB",
        "checked on": f"{row['images']:,} test images of {row['dataset']}{stand_in}",
        "largest difference": f"{row['largest_difference']:.2g}, the largest output is {row['largest_output']:.4g}",
        "same class": f"{row['same_class']:,} of {row['images']:,}",
        "error": measured,
        "key map": "layout" in row["metadata"] and "{layout} ({code})".format(**row["metadata"]),
        "takes": row["metadata"]["input"],
        "metadata": ", ".join(row["metadata"]),
    }
