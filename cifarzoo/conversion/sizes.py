"""Sizes of the networks of entries, read without Keras from sizes.json, which `cifarzoo.conversion.generate` writes."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from cifarzoo.conversion.entries import Entry
from cifarzoo.models.catalogue import call

PATH = Path(__file__).with_name("sizes.json")


@dataclass(frozen=True)
class Size:
    """The size of a network.

    Attributes:
        trainable: Number of trainable parameters.
        total: The same with BatchNormalization's moving statistics.
        macs: Multiply-accumulates of convolutions and linear layers on one image.
    """

    trainable: int
    total: int
    macs: int


def network(entry: Entry) -> str:
    """Return the call that builds an entry's network."""
    return call(entry.factory, entry.arguments | {"classes": entry.classes})


@functools.cache
def sizes() -> dict[str, Size]:
    """Return the size of every network by its call."""
    return {key: Size(*values) for key, values in json.loads(PATH.read_text(encoding="utf-8")).items()}


def size_of(entry: Entry) -> Size:
    """Return the size of an entry's network."""
    return sizes()[network(entry)]
