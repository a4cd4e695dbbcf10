"""Commands about the models themselves."""

import sys
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
    """All models: parameters and multiply-accumulates with ten classes, paper, published weights."""
    import fnmatch

    import rich.console
    import rich.table

    from cifarzoo.models.catalogue import catalogue
    from cifarzoo.pretrained.manifest import manifest

    published = {}
    for entry in manifest():
        published.setdefault(entry.model, []).append(f"{entry.tag} ({entry.metrics['error']:.2f} %)")
    table = rich.table.Table(box=None)
    for column, justify in (
        ("model", "left"),
        ("parameters", "right"),
        ("MMACs", "right"),
        ("paper", "left"),
        ("weights", "left"),
    ):
        table.add_column(column, justify=justify, no_wrap=column != "weights")
    for name, record in catalogue().items():
        if fnmatch.fnmatch(name, pattern) and (name in published or not pretrained):
            cells = [f"{record.total['10']:,}", f"{record.macs['10'] / 1e6:,.1f}", f"{record.paper} ({record.year})"]
            table.add_row(name, *cells, ", ".join(published.get(name, [])))
    # A terminal gets its own width; a file or a pipe the whole lines.
    rich.console.Console(width=None if sys.stdout.isatty() else 200).print(table)


@commands.command()
def show(
    model: Annotated[str, typer.Argument(help="A model's name or alias.")],
    debug: Debug = False,
) -> None:
    """One model: arguments, sizes, paper, published weights."""
    from cifarzoo.models.catalogue import call, find
    from cifarzoo.pretrained.manifest import manifest

    record = find(model)
    print(f"{call(record.name, record.arguments)}\n{record.summary}\n\n{record.paper} ({record.year})")
    for classes in ("10", "100"):
        print(
            f"{classes:>3} classes: {record.trainable[classes]:,} trainable parameters, "
            f"{record.total[classes]:,} in all, {record.macs[classes] / 1e6:,.2f} M multiply-accumulates"
        )
    if record.aliases:
        print(f"also known as {', '.join(record.aliases)}")
    for entry in manifest():
        if entry.model == record.name:
            print(
                f"weights {entry.tag}: {entry.architecture}, {entry.dataset}, error {entry.metrics['error']:.2f} %, "
                f"{entry.bytes / 1e6:.1f} MB{', default' if entry.default else ''}"
            )
