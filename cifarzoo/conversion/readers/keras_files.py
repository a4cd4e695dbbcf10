"""Read HDF5 files of Keras: `save_weights` and `save` of Keras 2, and the arrays of Keras 3's .weights.h5."""

from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.errors import WeightsError
from cifarzoo.pretrained.hdf5 import child, open_bounded

LONGEST_LIST = 100_000


def read(path: Path) -> Checkpoint:
    """Return the arrays of a file by their paths in it: "conv1/conv1/kernel:0".

    They come in the order of Keras 2's lists of layers and weights where there are such lists, then by name.

    Raises:
        WeightsError: the file is damaged, contains no numbers, or claims more than it can hold.
    """
    with open_bounded(path) as (file, names):
        ordered = dict.fromkeys(name for name in _listed(file) if name in names) | dict.fromkeys(sorted(names))
        numbers = [name for name in ordered if file[name].dtype.kind in "biuf"]
        arrays = {name.removeprefix("/"): np.asarray(file[name][()]) for name in numbers}
        if not arrays:
            raise WeightsError("contains no arrays of numbers")
        facts = {key: text for key in ("keras_version", "backend") if (text := _text(file.attrs.get(key)))}
    return Checkpoint("keras", arrays, dict(facts))


def _listed(file: Any) -> list[str]:
    """Return the paths that Keras 2 lists: the attribute `layer_names`, and `weight_names` of each layer's group."""
    paths = []
    group = child(file, "model_weights") or file
    for layer in _texts(group, "layer_names"):
        if members := child(group, layer):
            paths += [f"{members.name}/{weight}" for weight in _texts(members, "weight_names")]
    return paths


def _texts(group: Any, name: str) -> list[str]:
    """Return a list of texts that is an attribute; Keras splits a long one into NAME0, NAME1, ..."""
    parts = [name] if name in group.attrs else []
    while not parts or parts[-1] != name:
        if f"{name}{len(parts)}" not in group.attrs:
            break
        parts.append(f"{name}{len(parts)}")
    texts: list[str] = []
    for part in parts:
        values = np.asarray(group.attrs[part]).ravel()
        if len(texts) + len(values) > LONGEST_LIST:
            raise WeightsError(f"damaged: {name} has more than {LONGEST_LIST:,} texts")
        texts += [_text(value) for value in values]
    return texts


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
