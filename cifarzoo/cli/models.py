"""The command that lists the models."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cifarzoo.cli.options import Debug
from cifarzoo.cli.output import Column, Format, print_rows
from cifarzoo.errors import ModelError, printable

if TYPE_CHECKING:
    from cifarzoo.pretrained.manifest import Published

commands = typer.Typer()


@commands.command("list")
def list_models(
    pattern: Annotated[str, typer.Argument(help="Shell pattern of names.")] = "*",
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Only models with weights, published here or importable.")
    ] = False,
    form: Format = "",
    debug: Debug = False,
) -> None:
    """List the models: parameters and multiply-accumulates with ten classes, lowest error of published weights.

    With --pretrained, also the number of other projects' checkpoints; `cifarzoo import --list` lists these.
    """
    from cifarzoo.conversion.entries import entries as checkpoints
    from cifarzoo.models.catalogue import catalogue, matching
    from cifarzoo.pretrained.manifest import manifest

    published: dict[str, list[Published]] = {}
    for entry in manifest():
        published.setdefault(entry.model, []).append(entry)
    importable: dict[str, list[dict[str, Any]]] = {}
    for checkpoint in checkpoints().values():
        facts = {"name": checkpoint.name, "dataset": checkpoint.dataset, "error": checkpoint.error}
        importable.setdefault(checkpoint.factory, []).append(facts)
    rows = []
    for name in matching(pattern):
        if pretrained and name not in published and name not in importable:
            continue
        record = catalogue()[name]
        entries = sorted(published.get(name, ()), key=lambda entry: entry.metrics["error"])
        weights = [{"tag": e.tag, "dataset": e.dataset, "error": e.metrics["error"]} for e in entries]
        row = {
            "model": name,
            "family": record.family,
            "parameters": record.total["10"],
            "macs": record.macs["10"],
            "weights": weights,
            "checkpoints": importable.get(name, []),
            "paper": record.paper,
            "year": record.year,
        }
        # Sorted by error: the first entry of a data set is its best.
        rows.append(row | {f"{e.dataset}_error": e.metrics["error"] for e in reversed(entries)})
    if not rows:
        which = "no model with weights" if pretrained else "no model"
        raise ModelError(f"list {printable(pattern)}: {which} matches; cifarzoo list shows all")
    print_rows(
        rows,
        [
            Column("model"),
            Column("parameters", spec=","),
            Column("macs", "MMACs", ",.1f", unit=1e6),
            Column("cifar10_error", "CIFAR-10\nerror %", ".2f"),
            Column("cifar100_error", "CIFAR-100\nerror %", ".2f"),
            *([Column("checkpoints", "others'\nfiles", _count, numeric=True)] if pretrained else []),
            Column("weights", "weights", _tags, rank=1),
            Column("paper", rank=3),
            Column("year", rank=2),
        ],
        form,
        group="family",
    )


def _tags(weights: list[dict[str, Any]]) -> str:
    return ", ".join(f"{entry['tag']} ({entry['error']:.2f} %)" for entry in weights)


def _count(checkpoints: list[dict[str, Any]]) -> str:
    return str(len(checkpoints)) if checkpoints else ""
