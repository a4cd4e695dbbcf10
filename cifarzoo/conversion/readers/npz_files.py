"""Read what `numpy.savez` and Chainer's `save_npz` write."""

import re
from pathlib import Path

from cifarzoo import npz
from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.errors import WeightsError


def read(path: Path) -> Checkpoint:
    """Return the arrays of numbers, and single texts.

    Chainer's names contain slashes. Arrays without names, "arr_0" and so on, come in the order of their numbers;
    others in that of the file.

    Raises:
        WeightsError: the file is damaged, contains pickles, or contains no numbers.
    """
    try:
        arrays = npz.read(path)
    except ValueError as failure:
        raise WeightsError(str(failure)) from None
    if all(re.fullmatch("arr_[0-9]{1,9}", name) for name in arrays):
        arrays = dict(sorted(arrays.items(), key=lambda item: int(item[0].removeprefix("arr_"))))
    numbers = {name: array for name, array in arrays.items() if array.dtype.kind in "biufc"}
    texts = {name: str(array) for name, array in arrays.items() if array.dtype.kind == "U" and array.ndim == 0}
    if not numbers:
        raise WeightsError("contains no arrays of numbers")
    return Checkpoint("npz", numbers, dict(texts))
