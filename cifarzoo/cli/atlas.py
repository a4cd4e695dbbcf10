"""The command that writes the atlas."""

from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.options import Debug

commands = typer.Typer()


@commands.command()
def atlas(
    out: Annotated[Path, typer.Argument(help="The HTML file to write.")] = Path("atlas.html"),
    debug: Debug = False,
) -> None:
    """Write one HTML page of all weight files, ours and other projects': it sorts, filters and plots, offline."""
    from cifarzoo.evaluation.atlas import write_html

    write_html(out)
    print(out)
