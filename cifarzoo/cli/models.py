"""Commands about the models themselves."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.options import Debug

commands = typer.Typer()


@commands.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(help="Shell pattern of names.")] = "*",
    pretrained: Annotated[bool, typer.Option(help="Only models with published weights.")] = False,
    debug: Debug = False,
) -> None:
    """List the models: parameters and multiply-accumulates with ten classes, paper, published weights."""
    import fnmatch

    import rich.console
    import rich.table

    from cifarzoo.models.catalogue import catalogue
    from cifarzoo.pretrained.manifest import manifest

    published: dict[str, list[str]] = {}
    for entry in manifest():
        published.setdefault(entry.model, []).append(f"{entry.tag} ({entry.metrics['error']:.2f} %)")
    table = rich.table.Table(box=None)
    for column in ("model", "parameters", "MMACs", "paper", "weights"):
        is_number = column in ("parameters", "MMACs")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=column != "weights")
    for name, record in catalogue().items():
        if fnmatch.fnmatch(name, pattern) and (name in published or not pretrained):
            cells = [f"{record.total['10']:,}", f"{record.macs['10'] / 1e6:,.1f}", f"{record.paper} ({record.year})"]
            table.add_row(name, *cells, ", ".join(published.get(name, [])))
    # A terminal gets its own width; a file or a pipe the whole lines.
    rich.console.Console(width=None if sys.stdout.isatty() else 200).print(table)


@commands.command()
def show(
    model: Annotated[
        str, typer.Argument(help="A model's name or alias, a tag of published weights, or a .weights.h5 file.")
    ],
    debug: Debug = False,
) -> None:
    """Show a model: arguments, sizes, paper, published weights. Or weights: which model they are for."""
    from cifarzoo.pretrained.manifest import find_entry, manifest

    entries = manifest()
    if model.endswith(".h5") or find_entry(model, entries):
        _show_weights(model, entries)
        return
    from cifarzoo.models.catalogue import call, find, identity

    record = find(model)
    print(f"{call(record.name, record.arguments)}\n{record.summary}\n\n{record.paper} ({record.year})")
    for classes in ("10", "100"):
        print(
            f"{classes:>3} classes: {record.trainable[classes]:,} trainable parameters, "
            f"{record.total[classes]:,} in all, {record.macs[classes] / 1e6:,.2f} M multiply-accumulates"
        )
    if record.aliases:
        print(f"also known as {', '.join(record.aliases)}")
    if record.training_only:
        print(f"only affect training: {', '.join(record.training_only)}")
    if record.special_case_of:
        print(f"the same network as {call(*record.special_case_of)}")
    for entry in entries:
        # Of special cases, the files of the general factory that fit them, and the other way round.
        if entry.model == record.name or entry.identity == identity(record.name, {}):
            print(
                f"weights {entry.tag}: {entry.architecture}, {entry.dataset}, error {entry.metrics['error']:.2f} %, "
                f"{entry.bytes / 1e6:.1f} MB{', default' if entry.default else ''}"
            )


def _show_weights(name: str, entries: list) -> None:
    """Print what a file says about itself, or what the manifest says about a tag."""
    from cifarzoo.errors import WeightsError
    from cifarzoo.pretrained.description import describe_entry, read_description
    from cifarzoo.pretrained.manifest import find_entry

    entry = find_entry(name, entries)
    description = describe_entry(entry) if entry else read_description(Path(name).expanduser())
    if description is None:
        raise WeightsError(f"{name}: does not say what it contains")
    print(description)
    for label, value in (
        ("input", f"normalised by {description.statistics}" if description.statistics else "not normalised inside"),
        ("trained on", description.dataset),
        ("source", description.source),
        ("written by cifarzoo", description.version),
    ):
        if value:
            print(f"{label}: {value}")
