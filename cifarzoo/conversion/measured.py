"""Errors that we measured from other projects' checkpoints: measured.json, which this command writes.

    cifarzoo import akamaster/resnet20 --evaluate --format json > resnet20.json
    python -m cifarzoo.conversion.measured resnet20.json

It adds to the table, or replaces in it, what `cifarzoo import --evaluate --format json` printed into the files.
"""

import functools
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cifarzoo.conversion.entries import find
from cifarzoo.errors import WeightsError

PATH = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Measurement:
    """What we measured from one checkpoint.

    Attributes:
        error: Error in percent.
        images: Number of test images.
        backend: Keras backend that computed it.
    """

    error: float
    images: int
    backend: str


@functools.cache
def measured() -> dict[str, Measurement]:
    """Return what was measured, by the name of the entry."""
    return {name: Measurement(**values) for name, values in json.loads(PATH.read_text(encoding="utf-8")).items()}


def record(documents: list[dict[str, Any]], path: Path = PATH) -> None:
    """Add measurements to a file.

    Args:
        documents: What `cifarzoo import --evaluate --format json` prints about one entry, each.
        path: The file.

    Raises:
        WeightsError: a document lacks a value, or names no entry.
    """
    table = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for document in documents:
        try:
            values = Measurement(round(float(document["error"]), 4), int(document["images"]), str(document["backend"]))
            name = find(document["name"]).name
        except (KeyError, TypeError, ValueError) as failure:
            raise WeightsError(
                f"expected name, error, images and backend, got {document!r:.200} ({failure!r})"
            ) from None
        table[name] = asdict(values)
    lines = [f"  {json.dumps(name)}: {json.dumps(table[name])}" for name in sorted(table)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    record([json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]])
