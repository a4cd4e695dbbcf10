"""The list of other projects' checkpoints, `cifarzoo import --list`."""

from dataclasses import asdict
from typing import Any

from cifarzoo.cli.output import Column, print_rows
from cifarzoo.errors import ExperimentError, WeightsError, printable

DATASETS = ("cifar10", "cifar100")


def print_checkpoints(pattern: str = "*", dataset: str | None = None, form: str = "table") -> None:
    """Print the entries that match, grouped by source on a terminal.

    Args:
        pattern: Shell pattern of names, names without source, or sources.
        dataset: Only entries that were trained on this data set.
        form: One of `output.FORMATS`.

    Raises:
        ExperimentError: there is no such data set.
        WeightsError: no entry matches.
    """
    from cifarzoo.conversion.entries import matching

    if dataset not in (None, *DATASETS):
        raise ExperimentError(f"--dataset {printable(str(dataset))}: expected {' or '.join(DATASETS)}")
    rows = [_row(entry) for entry in matching(pattern, dataset)]
    if not rows:
        trained = f" trained on {dataset}" if dataset else ""
        raise WeightsError(
            f"import --list {printable(pattern)}: no checkpoint{trained} matches; cifarzoo import --list shows all"
        )
    columns = [
        Column("name"),
        Column("error", "error %\nreported", ".2f"),
        Column("measured", "error %\nmeasured", ".2f", rank=2),
        Column("selection", "epoch of the file", rank=1),
        Column("parameters", spec=",", rank=3),
        Column("macs", "MMACs", ",.1f", unit=1e6, rank=4),
        Column("license", rank=5),
        Column("download", rank=7),
        Column("hashed", "hash\nknown", rank=6),
        Column("model", rank=8),
        Column("remark", rank=9),
    ]
    if not any(row["measured"] for row in rows):
        columns = [column for column in columns if column.key != "measured"]
    if form == "table":  # the heading of a group has the first half of the names
        rows = [row | {"name": row["name"].split("/", 1)[1]} for row in rows]
    print_rows(rows, columns, form, group="heading")


def _row(entry: Any) -> dict[str, Any]:
    """Return all facts of an entry, which JSON prints, and the texts that tables show."""
    from cifarzoo.conversion.measured import measured
    from cifarzoo.conversion.sizes import size_of
    from cifarzoo.models.catalogue import call

    size, measurement = size_of(entry), measured().get(entry.name)
    return asdict(entry) | {
        "source": entry.source,
        "hashed": entry.hashed,
        "model": call(entry.factory, entry.arguments | {"classes": entry.classes}),
        "parameters": size.total,
        "macs": size.macs,
        "measured": measurement and measurement.error,
        "download": "tried" if entry.tried else "not tried",
        "heading": f"{entry.source}/",
    }
