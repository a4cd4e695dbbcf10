"""The command that names what pictures show."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cifarzoo.cli.completion import complete_network
from cifarzoo.cli.options import (
    Arguments,
    ClassNames,
    Debug,
    Weights,
    class_names_from,
    factory_arguments,
)
from cifarzoo.cli.output import Column, Format, print_rows
from cifarzoo.cli.progress import progress_bar
from cifarzoo.errors import DataError, ExperimentError, printable
from cifarzoo.user_code import find_modules

commands = typer.Typer()


@commands.command()
def predict(
    image: Annotated[
        list[str], typer.Argument(help="Pictures of any size, and folders of pictures, with the folders below them.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Name of a model, tag or file of published weights, name of another project's checkpoint, .keras "
            "file, or folder of a run. The default is the published ResNet-20.",
            autocompletion=complete_network,
        ),
    ] = "cifar_resnet20",
    weights: Weights = None,
    argument: Arguments = [],  # noqa: B006
    class_names: ClassNames = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes to print per picture.")] = 3,
    fit: Annotated[
        str | None,
        typer.Option(
            help="crop: the square in the middle of a picture; squash: all of it, made square. Default: as a run's own "
            "images were resized, else crop."
        ),
    ] = None,
    filter_name: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="Pillow's filter for resizing: nearest, box, bilinear, hamming, bicubic or lanczos. Default: that of "
            "a run's own images, else bicubic.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Draw the pictures with their classes to this .png file, at most 400.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Draw a Grad-CAM heat map of its class beside each picture. Default of --sheet: predictions.png.",
        ),
    ] = False,
    dark: Annotated[bool, typer.Option("--dark", help="Draw on a dark background.")] = False,
    form: Format = "",
    debug: Debug = False,
) -> None:
    """Name what pictures show: the most probable classes, and their probabilities."""
    if dark and not (sheet or explain):
        raise ExperimentError("--dark: is for the picture of --sheet or --explain")
    if sheet and sheet.suffix.lower() != ".png":
        raise ExperimentError(f"--sheet {sheet}: the name of a contact sheet ends in .png")
    if sheet and not sheet.parent.is_dir():
        raise ExperimentError(f"--sheet {sheet}: there is no folder {sheet.parent}")
    names = None if class_names is None else class_names_from(class_names)
    find_modules(Path())
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.inference.pictures import find_pictures

        pictures = find_pictures(image)  # before Keras starts, as names are often mistyped
        from cifarzoo.evaluation.load_model import load_model
        from cifarzoo.inference.predict import predict_pictures

        show(f"load {model}", 0)
        network = load_model(model, weights, factory_arguments(argument))
        predictions = predict_pictures(pictures, network, top, fit, filter_name, names, progress=show)
    if form == "json":
        document = {
            "model": network.name,
            "resized": {"fit": predictions.resizing.fit, "filter": predictions.resizing.filter_name},
            "images": [prediction.as_dict() for prediction in predictions],
            "unreadable": predictions.failures,
        }
        print(json.dumps(document, indent=2))
    elif len(predictions):
        _print(predictions, form)
    for line in predictions.failures:
        print(f"cifarzoo: warning: {printable(line)}", file=sys.stderr)
    if (sheet or explain) and len(predictions):
        _draw(predictions, sheet or Path("predictions.png"), explain, dark)
    if predictions.failures:
        raise DataError(f"{len(predictions.failures):,} of {len(pictures):,} pictures could not be read")


def _draw(predictions: Any, path: Path, explain: bool, dark: bool) -> None:
    """Write the contact sheet, of the first pictures if there are too many for one."""
    from cifarzoo.inference.contact_sheet import MOST

    with progress_bar() as show:
        show("draw", 0)
        predictions[:MOST].contact_sheet(path, explain=explain, dark=dark)
    some = f" (the first {MOST} pictures)" if len(predictions) > MOST else ""
    print(f"{path}{some}", file=sys.stderr)


def _print(predictions: Any, form: str) -> None:
    """Print one row per picture."""
    columns = [Column("image")]
    for rank in range(1, len(predictions[0].top) + 1):
        columns += [
            Column(f"class{rank}", "class" if rank == 1 else f"{rank}.", rank=rank - 1),
            Column(f"probability{rank}", "%", ".1f", unit=0.01, rank=rank - 1),
        ]
    rows = []
    for prediction in predictions:
        row: dict[str, Any] = {"image": prediction.image}
        for rank, (name, share) in enumerate(prediction.top, start=1):
            row |= {f"class{rank}": name, f"probability{rank}": share}
        rows.append(row)
    print_rows(rows, columns, form)
