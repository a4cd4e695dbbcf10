"""The command that prints the JSON schema of experiments files."""

import typer

from cifarzoo.cli.options import Debug

commands = typer.Typer()


@commands.command()
def schema(debug: Debug = False) -> None:
    """Print the JSON schema of experiments files, which lets editors complete keys and mark mistakes."""
    from cifarzoo.experiment.json_schema import SCHEMA

    print(SCHEMA.read_text(encoding="utf-8"), end="")
