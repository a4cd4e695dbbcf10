"""Names and sizes of all models, measured once and read without Keras.

`python -m cifarzoo.models.catalogue` builds every model with its default arguments and writes the file anew.
"""

import difflib
import functools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cifarzoo.errors import ModelError

PATH = Path(__file__).with_name("catalogue.json")

CLASSES = (10, 100)


@dataclass(frozen=True)
class Record:
    """One model with its default arguments.

    Attributes:
        name: The factory.
        family: The module of `cifarzoo.models` that it is in.
        summary: First line of its documentation.
        paper, year: Where the architecture comes from.
        aliases: Other names that the registry knows it by.
        arguments: Its own arguments and their defaults.
        trainable: Trainable parameters by number of classes, "10" and "100".
        total: The same with what is not trained, BatchNormalization's moving statistics.
        macs: Multiply-accumulates of convolutions and linear layers on one image, by number of classes.
    """

    name: str
    family: str
    summary: str
    paper: str
    year: int
    aliases: tuple[str, ...]
    arguments: dict[str, Any]
    trainable: dict[str, int]
    total: dict[str, int]
    macs: dict[str, int]


@functools.cache
def catalogue() -> dict[str, Record]:
    """Every model by name, in the order of families."""
    records = json.loads(PATH.read_text(encoding="utf-8"))
    return {record["name"]: Record(**record | {"aliases": tuple(record["aliases"])}) for record in records}


def find(name: str) -> Record:
    """The record of a model's name or alias.

    Raises:
        ModelError: no such model; the message lists the nearest names.
    """
    records = catalogue()
    names = {known: record for record in records.values() for known in (record.name, *record.aliases)}
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3) or list(records)
        raise ModelError(f"unknown model {name!r}; did you mean {', '.join(near)}? `cifarzoo list` shows all")
    return names[name]


def measure(name: str) -> Record:
    """Build a model for 10 and for 100 classes and describe it."""
    import keras

    from cifarzoo.models import registry
    from cifarzoo.models.macs import macs

    entry = registry.get(name)
    trainable, total, multiply_accumulates = {}, {}, {}
    for classes in CLASSES:
        model = entry.factory(classes=classes)
        total[str(classes)] = model.count_params()
        trainable[str(classes)] = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        multiply_accumulates[str(classes)] = macs(model)
        del model
        keras.utils.clear_session()
    return Record(
        name=entry.name,
        family=entry.family,
        summary=entry.factory.__doc__.splitlines()[0],
        paper=entry.paper,
        year=entry.year,
        aliases=entry.aliases,
        arguments=entry.architecture({}),
        trainable=trainable,
        total=total,
        macs=multiply_accumulates,
    )


def write() -> None:
    """Measure every registered model and write the catalogue."""
    from cifarzoo.models import registry

    records = [measure(name) for name in registry.entries()]
    lines = [json.dumps(asdict(record)) for record in records]
    PATH.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    write()
