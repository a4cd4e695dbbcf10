"""Weight files in half precision: half as large, if the error stays the same."""

import shutil
from pathlib import Path

import h5py
import numpy as np

TOLERANCE = 0.01  # percentage points of error


def errors_agree(first: float, second: float, images: int) -> bool:
    """Whether two errors in percent, measured on `images` images, differ by at most TOLERANCE.

    Compared as numbers of images: one of 10,000 is exactly 0.01 points, which has no exact binary form.
    """
    return round(abs(first - second) * images / 100) <= round(TOLERANCE * images / 100)


def halve(source: Path, target: Path) -> None:
    """Copy a weight file with its float32 arrays as float16; Keras loads it into float32 variables like any other.

    Raises:
        OverflowError: a weight is beyond the range of half precision.
    """
    full = target.with_suffix(".part")
    shutil.copyfile(source, full)
    try:
        with h5py.File(full, "r+") as file:
            for name in _float32_arrays(file):
                values = file[name][()]
                if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                    raise OverflowError(f"{source}: {name} has a weight beyond the range of half precision")
                del file[name]
                file[name] = values.astype(np.float16)
        # Deleted arrays still take space; a copy of what remains is small.
        with h5py.File(full) as file, h5py.File(target, "w") as compact:
            for name in file:
                file.copy(name, compact)
            for key, value in file.attrs.items():
                compact.attrs[key] = value
    finally:
        full.unlink()


def _float32_arrays(file):
    names = []
    file.visititems(lambda name, node: names.append(name) if getattr(node, "dtype", None) == np.float32 else None)
    return names
