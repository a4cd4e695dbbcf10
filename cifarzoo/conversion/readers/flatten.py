"""Turn nested dictionaries and lists of arrays and numbers into one checkpoint with names joined by slashes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.errors import WeightsError

MOST_VALUES = 1_000_000  # a value in several places counts in each
DEEPEST = 100
LONGEST_NAME = 1000


def flatten(form: str, content: Any, array_of: Callable[[Any], np.ndarray | None]) -> Checkpoint:
    """Return the arrays, and the numbers and texts beside them; other values are skipped.

    Args:
        form: Name of the format.
        content: Dictionaries, lists and tuples, nested in any way. Members of lists are named by their positions, and
            a lone value "tensor".
        array_of: Returns the array that a value stands for, None if it stands for none.

    Raises:
        WeightsError: two values have the same name, a name is too long, or there are too many values.
    """
    checkpoint = Checkpoint(form, {})
    left = MOST_VALUES

    def visit(name: str, value: Any, depth: int) -> None:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise WeightsError(f"has more than {MOST_VALUES:,} values, or {DEEPEST} dictionaries in one another")
        if isinstance(value, (dict, list, tuple)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, child in items:
                visit(_joined(name, key), child, depth + 1)
            return
        name = name or "tensor"
        array = array_of(value)
        if array is None and (not isinstance(value, (int, float, str)) or _is_long(value)):
            return
        if name in checkpoint.arrays or name in checkpoint.facts:
            raise WeightsError(f"has two values of the name {name}")
        if array is None:
            checkpoint.facts[name] = value
        else:
            checkpoint.arrays[name] = array

    visit("", content, 0)
    if not checkpoint.arrays:
        raise WeightsError("contains no tensors")
    return checkpoint


def _joined(name: str, key: Any) -> str:
    text = key.decode("latin1") if isinstance(key, bytes) else str(key)
    joined = f"{name}/{text}" if name else text
    if len(joined) > LONGEST_NAME:
        raise WeightsError(f"has a name of {len(joined):,} characters: {joined:.80}...")
    return joined


def _is_long(value: Any) -> bool:
    """Whether a number has more than 64 bits; Python refuses to print long ones."""
    return isinstance(value, int) and value.bit_length() > 64
