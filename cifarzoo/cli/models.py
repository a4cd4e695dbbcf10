"""Commands about the models themselves."""

from pathlib import Path
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
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only models with published weights.")] = False,
    form: Format = "",
    debug: Debug = False,
) -> None:
    """List the models: parameters and multiply-accumulates with ten classes, lowest error of published weights."""
    import fnmatch

    from cifarzoo.models.catalogue import catalogue
    from cifarzoo.pretrained.manifest import manifest

    published: dict[str, list[Published]] = {}
    for entry in manifest():
        published.setdefault(entry.model, []).append(entry)
    rows = []
    for name, record in catalogue().items():
        if not fnmatch.fnmatch(name, pattern) or (pretrained and name not in published):
            continue
        entries = sorted(published.get(name, ()), key=lambda entry: entry.metrics["error"])
        weights = [{"tag": e.tag, "dataset": e.dataset, "error": e.metrics["error"]} for e in entries]
        row = {
            "model": name,
            "family": record.family,
            "parameters": record.total["10"],
            "macs": record.macs["10"],
            "weights": weights,
            "paper": record.paper,
            "year": record.year,
        }
        # Sorted by error, so that the first of a data set is its best.
        rows.append(row | {f"{e.dataset}_error": e.metrics["error"] for e in reversed(entries)})
    if not rows:
        which = "no model with published weights" if pretrained else "no model"
        raise ModelError(f"list {printable(pattern)}: {which} has such a name; cifarzoo list shows all")
    print_rows(
        rows,
        [
            Column("model"),
            Column("parameters", spec=","),
            Column("macs", "MMACs", ",.1f", unit=1e6),
            Column("cifar10_error", "CIFAR-10\nerror %", ".2f"),
            Column("cifar100_error", "CIFAR-100\nerror %", ".2f"),
            Column("weights", "weights", _tags, rank=1),
            Column("paper", rank=3),
            Column("year", rank=2),
        ],
        form,
        group="family",
    )


def _tags(weights: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['tag']} ({one['error']:.2f} %)" for one in weights)


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
