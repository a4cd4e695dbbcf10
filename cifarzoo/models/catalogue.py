"""Names, arguments and sizes of all models, read without Keras from a file that `cifarzoo.models.generate` writes."""

import difflib
import fnmatch
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarzoo.errors import ModelError
from cifarzoo.models.arguments import IMAGE_SIZE

PATH = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True)
class Record:
    """One model with its default arguments.

    Attributes:
        name: The factory.
        family: The module of `cifarzoo.models` that it is in.
        summary: First line of its documentation.
        paper, year: Where the architecture comes from.
        aliases: Other names that the registry knows it by.
        arguments: Its architecture arguments and their defaults.
        variants: Those of them that are keyword-only: they build variants of the network, and calls in texts leave them
            out where they have their default.
        training_only: Those of them that leave variables and inference unchanged.
        special_case_of: A more general factory and the arguments that make it build the same network, if there is one.
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
    variants: tuple[str, ...]
    training_only: tuple[str, ...]
    special_case_of: tuple[str, dict[str, Any]] | None
    trainable: dict[str, int]
    total: dict[str, int]
    macs: dict[str, int]


@functools.cache
def catalogue() -> dict[str, Record]:
    """Return the record of every model by name, in the order of families."""
    records = json.loads(PATH.read_text(encoding="utf-8"))
    return {record["name"]: _record(**record) for record in records}


def _record(special_case_of, **others):
    """Make a record, with the tuples that JSON has no notion of."""
    others |= {key: tuple(others[key]) for key in ("aliases", "variants", "training_only")}
    return Record(special_case_of=special_case_of and tuple(special_case_of), **others)


def find(name: str) -> Record:
    """Return the record of a model by its name or alias, in any case, with any separators, with or without "cifar_".

    Raises:
        ModelError: no such model; the message lists the nearest names.
    """
    records = catalogue()
    names = {known: record for record in records.values() for known in (record.name, *record.aliases)}
    if name in names:
        return names[name]
    for spelling in (_spelling, _letters):
        meant = [record for known, record in names.items() if spelling(known) == spelling(str(name))]
        if meant and all(record is meant[0] for record in meant):
            return meant[0]
    short = {known.removeprefix("cifar_"): record.name for known, record in names.items()}
    near = difflib.get_close_matches(str(name).lower().removeprefix("cifar_"), short, n=3, cutoff=0.5)
    suggestion = f"did you mean {', '.join(dict.fromkeys(short[name] for name in near))}? " if near else ""
    raise ModelError(f"unknown model {name!r}; {suggestion}`cifarzoo list` shows all")


def matching(pattern: str) -> list[str]:
    """Return the names of the models that match a shell pattern, in any case and with or without "cifar_"."""
    pattern = pattern.lower()
    return [
        name
        for name in catalogue()
        if any(fnmatch.fnmatchcase(known, pattern) for known in (name, name.removeprefix("cifar_")))
    ]


def _spelling(name: str) -> str:
    """Return a name in lower case, without "cifar_" and the "_bn" that other zoos append to VGGs."""
    name = name.lower().replace("-", "_").removeprefix("cifar_")
    return name.removesuffix("_bn") if name.startswith("vgg") else name


def _letters(name: str) -> str:
    """Return the letters and digits of a name."""
    return _spelling(name).replace("_", "")


def call(name: str, arguments: dict[str, Any]) -> str:
    """Format a call of a factory as Python code: `cifar_resnet20(classes=10)`, without variants at their default."""
    if record := catalogue().get(name):
        usual = {key: record.arguments[key] for key in record.variants}
        arguments = {key: value for key, value in arguments.items() if key not in usual or value != usual[key]}
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def identity(factory: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what decides which weights fit a network: models with equal identities share weight files.

    Arguments that only affect training are left out. Arguments that are missing get their defaults, so that a new
    argument leaves earlier files valid. A factory that is a special case of another becomes that one:
    `cifar_wrn_28_10()` and `cifar_wide_resnet(28, 10)` are the same network.

    Args:
        factory: Its name. A name that the catalogue does not have, as in a file of a newer version, stays as it is.
        arguments: Its architecture arguments, or some of them, and `image_size` unless it is 32.

    Returns:
        Name and arguments of the most general factory that builds the network.
    """
    record = catalogue().get(factory)
    if record is None:
        return factory, arguments
    shaping = {
        name: arguments.get(name, default)
        for name, default in record.arguments.items()
        if name not in record.training_only
    }
    # An argument that this version does not know may change the network: nothing equals it.
    shaping |= {name: value for name, value in arguments.items() if name not in record.arguments}
    if shaping.get("image_size") == IMAGE_SIZE:
        del shaping["image_size"]
    if record.special_case_of is None:
        return factory, shaping
    general, fixed = record.special_case_of
    return identity(general, fixed | shaping)
