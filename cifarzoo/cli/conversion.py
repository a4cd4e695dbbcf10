"""Commands that turn other projects' checkpoints into weight files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cifarzoo.cli.completion import complete_checkpoint
from cifarzoo.cli.options import DataDir, Debug, refuse
from cifarzoo.cli.output import Column, Format, print_record, print_rows
from cifarzoo.cli.progress import progress_bar
from cifarzoo.errors import WeightsError

if TYPE_CHECKING:
    from cifarzoo.conversion.entries import Entry

commands = typer.Typer()

COLUMNS = [
    Column("name"),
    Column("dataset", "data", rank=4),
    Column("error", "error %", ".2f"),
    Column("reported_error", "reported\nerror %", ".2f"),
    Column("selection", "epoch of\nthe file", rank=2),
    Column("license", rank=5),
    Column("failure", "not imported because", rank=1),
]


@commands.command("import")
def import_checkpoints(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a checkpoint, such as osmr/wrn28_10_cifar10; with --list a pattern.",
            autocompletion=complete_checkpoint,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="The checkpoint, if you have it already. Of TensorFlow's, the .index file.")
    ] = None,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Measure the error on all test images.")] = False,
    all_: Annotated[
        str | None, typer.Option("--all", help="Import all checkpoints of a source, or whose names match a pattern.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the checkpoints, without importing any.")] = False,
    dataset: Annotated[str | None, typer.Option(help="With --list or --all: cifar10 or cifar100.")] = None,
    form: Format = "",
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Download another project's checkpoint, verify its hash, if known, and convert it into a weight file."""
    if json:
        refuse(context, "--json", "form")
        form = "json"
    if list_:
        refuse(context, "--list", "file evaluate all_ data_dir")
        from cifarzoo.cli.checkpoints import print_checkpoints

        print_checkpoints(name or "*", dataset, form)
        return
    if (name is None) == (all_ is None):
        raise WeightsError("import: expected either the NAME of a checkpoint, --all SOURCE or --list")
    if all_ is not None:
        refuse(context, "--all", "file")
        _import_all(all_, dataset, evaluate, data_dir, form)
        return
    refuse(context, "NAME", "dataset")
    if not evaluate:
        refuse(context, "a checkpoint that is not evaluated", "data_dir")
    from cifarzoo.conversion.entries import find

    entry = find(str(name))
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.evaluation.imported import import_checkpoint

        row = import_checkpoint(entry, file, evaluate, data_dir, show)
    print_record(row["name"], _fields(row, entry), form, row)


def _fields(row: dict[str, Any], entry: "Entry") -> dict[str, str | None]:
    from cifarzoo.data.statistics import text_of

    reported = "not reported" if entry.error is None else f"{entry.error:.2f} %"
    return {
        "weight file": row["path"],
        "model": row["model"],
        "input": f"normalized by {text_of(entry.statistics)}",
        "test error": f"{row['error']:.2f} % of {row['images']:,} images, measured here" if "error" in row else None,
        "reported error": f"{reported} ({entry.selection}: {entry.protocol})",
        "license": f"{entry.license}, {entry.license_url}",
        "source": entry.homepage,
        "SHA-256 of the source": ", ".join(row["sha256"]),
        "SHA-256 of the weights": row["content_sha256"],
        "verified": row["verified"],
        "remark": entry.remark,
    }


def _import_all(pattern: str, dataset: str | None, evaluate: bool, data_dir: str | None, form: str) -> None:
    from cifarzoo.conversion.entries import matching

    entries = matching(pattern, dataset)
    if not entries:
        raise WeightsError(f"--all {pattern}: no checkpoint matches; `cifarzoo import --list` shows all")
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.evaluation.imported import import_all

        rows = list(import_all(entries, evaluate, data_dir, show))
    print_rows(rows, COLUMNS, form, f"{sum('failure' not in row for row in rows)} of {len(rows)} imported")
    if any("failure" in row for row in rows):
        raise typer.Exit(1)


@commands.command()
def convert(
    file: Annotated[str, typer.Argument(help="Another project's checkpoint.")],
    model: Annotated[
        str | None, typer.Option(help="The model that it holds: 'cifar_resnet56(shortcut_type=\"B\")'.")
    ] = None,
    statistics: Annotated[
        str | None,
        typer.Option(help="What normalizes its input: kuangliu, imagenet, half, unit, ... or [[MEAN], [DEVIATION]]."),
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Name of the key map. Default: the first that fits.")] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="BatchNormalization's epsilon in the other network. Default: that of the key map's code."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="What it was trained on. Default: by the classes.")] = None,
    part: Annotated[
        str | None, typer.Option(help="Dictionary in the file that the network is in, such as ema.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: FILE with another ending, here, unless it exists."),
    ] = None,
    form: Format = "",
    debug: Debug = False,
) -> None:
    """Convert a checkpoint that is in no table into a weight file."""
    if model is None or statistics is None:
        raise WeightsError("convert: expected --model and --statistics")
    from cifarzoo.strict_yaml import parse

    constants = parse(statistics, "--statistics")
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.models.exchange import convert_checkpoint

        show("convert", 0.5)
        row = convert_checkpoint(Path(file), model, constants, layout, epsilon, dataset, out, part)
    fields = {
        "weight file": row["path"],
        "key map": f"{row['layout']}, with epsilon {row['epsilon']:g} in BatchNormalization",
        "fit as well": ", ".join(row["others"]),
        "arrays used": f"{row['arrays']}, all of the network in the file and of the model",
        "not used": ", ".join(f"{name} ({count} arrays)" for name, count in row["not_used"].items()),
        "beware": "; ".join(row["remarks"]),
        "next": f"cifarzoo evaluate {row['path']}: names and shapes fit, but only the error shows whether the "
        "networks compute the same",
    }
    print_record(row["model"], fields, form, row)
