"""The command that averages weights."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.completion import complete_tag
from cifarzoo.cli.options import DataDir, DatasetName, Debug
from cifarzoo.cli.output import Column, Format, print_rows
from cifarzoo.cli.progress import progress_bar
from cifarzoo.errors import ExperimentError
from cifarzoo.user_code import find_modules

commands = typer.Typer()


@commands.command()
def average(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Two or more .weights.h5 files, folders of finished runs, or tags, of one architecture.",
            autocompletion=complete_tag,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .weights.h5 file to write.")],
    weights: Annotated[
        str | None, typer.Option(help="Numbers in proportion to the shares of the files: 1,2,1. Default: equal.")
    ] = None,
    dataset: DatasetName = None,
    split: Annotated[
        str, typer.Option(help="Measure on test, validation, ... or none; val_split is that of the first file's run.")
    ] = "val_split",
    statistics: Annotated[
        str,
        typer.Option(help="Of BatchNormalization: computed over the training images, or averaged like the weights."),
    ] = "computed",
    augmentation: Annotated[
        str, typer.Option(help="Augmentation of the images over which statistics are computed.")
    ] = "none",
    form: Format = "",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Write the mean of several files' weights (a soup, or SWA) with new BatchNormalization statistics."""
    if statistics not in ("computed", "averaged"):
        raise ExperimentError(f"--statistics {statistics}: expected computed or averaged")
    try:
        numbers = None if weights is None else [float(number) for number in weights.split(",")]
    except ValueError:
        raise ExperimentError(
            f"--weights {weights}: expected numbers with commas between them, such as 1,2,1"
        ) from None
    find_modules(Path())
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.evaluation.average import average_weights

        result = average_weights(
            files,
            out,
            numbers,
            split=None if split == "none" else split,
            dataset_name=dataset,
            recompute=statistics == "computed",
            augmentation=augmentation,
            data_dir=data_dir,
            progress=show,
        )
    if form == "json":
        print(json.dumps(result, indent=2))
        return
    rows = [*result["members"], result["average"]]
    columns = [Column("weights"), Column("share", spec=".4g")]
    columns += [Column("error", "error %", ".2f"), Column("nll", "NLL", ".4f"), Column("ece", "ECE", ".4f")]
    measured = result["split"]
    print_rows(rows, columns if measured else columns[:2], form, f"On {measured}" if measured else "")
    if form in ("table", "markdown"):
        print(f"\nBatchNormalization statistics: {result['statistics']}.")
