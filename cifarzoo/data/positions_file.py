"""Read lists of positions in a split: a .npy file of integers, or a .txt file with one number per line."""

import re
from pathlib import Path

import numpy as np

from cifarzoo.errors import DataError, summarize
from cifarzoo.strict_yaml import excerpt

LARGEST_TEXT = 2**24  # bytes of a list of positions, or numbers in an array of them


def read_positions(path: Path) -> np.ndarray:
    """Return the positions in a file, int64 [n], as they are listed.

    Raises:
        DataError: the file cannot be read, holds something else, or is empty. The message does not name it.
    """
    values = _read_text(path) if path.suffix == ".txt" else read_npy(path)
    if values is None or values.ndim != 1 or values.dtype.kind not in "iu" or len(values) > LARGEST_TEXT:
        got = "several arrays" if values is None else f"{values.dtype} {list(values.shape)}"
        raise DataError(f"expected a .npy file of integers [n], or a .txt file of one number per line, got {got}")
    if not len(values):
        raise DataError("lists no positions")
    return values.astype(np.int64)


def read_npy(path: Path) -> np.ndarray | None:
    """Return the array of a .npy file; None of a file with several.

    Raises:
        DataError: the file is damaged, or has no array of numbers.
    """
    try:  # a map of the file, because its header may claim any size
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as failure:  # NumPy raises anything from ValueError to MemoryError for a damaged header
        raise DataError(f"damaged, or not an array of numbers ({summarize(failure)[:200]})") from None
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    values.close()
    return None


def _read_text(path: Path) -> np.ndarray:
    if path.stat().st_size > LARGEST_TEXT:
        raise DataError(f"longer than {LARGEST_TEXT:,} bytes")
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as failure:
        raise DataError(f"cannot be read: {failure.strerror or failure}") from None
    numbers = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text and not re.fullmatch("[0-9]{1,15}", text):
            raise DataError(f"line {number}: expected a whole number, got {excerpt(text)}")
        numbers += [int(text)] if text else []
    return np.array(numbers, np.int64)
