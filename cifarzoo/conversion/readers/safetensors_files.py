"""Read .safetensors files, with their own library, which checks positions and lengths."""

from pathlib import Path

import numpy as np

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.errors import WeightsError


def read(path: Path) -> Checkpoint:
    """Return the arrays of a file, bfloat16 as float32, and its metadata.

    Raises:
        WeightsError: the file is damaged or empty. Exception: its library finds it damaged.
    """
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        arrays = {name: _plain(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118  it is not a dictionary
        facts = dict(file.metadata() or {})
    if not arrays:
        raise WeightsError("contains no tensors")
    return Checkpoint("safetensors", arrays, facts)


def _plain(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "biufc" else array.astype(np.float32)
