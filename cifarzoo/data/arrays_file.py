"""Read a data set of the user's own from an .npz file, in bounded memory and without executing anything."""

import os
from pathlib import Path

import numpy as np

from cifarzoo import npz
from cifarzoo.data.image_cache import OwnArrays
from cifarzoo.data.memory import check_memory
from cifarzoo.errors import DataError

NAMES = ("x_train", "y_train", "x_test", "y_test")


def read_arrays(name: str, path: Path) -> OwnArrays:
    """Return the arrays of a file; gray images become red, green and blue.

    Args:
        name: Name of the data set, for messages.
        path: The file, with uint8 images [n, height, width, 3] (or [n, height, width, 1], or [n, height, width]) as
            `x_train` and `x_test`, integer labels [n] as `y_train` and `y_test`, and perhaps texts `class_names`.

    Raises:
        DataError: the file is missing, damaged or too large, or lacks an array.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isfile(path):
        raise DataError(f"dataset.arrays: {path}: {'is not a file' if os.path.exists(path) else 'no such file'}")
    try:
        check_memory(name, "its arrays", npz.expanded_size(path))
        arrays = npz.read(path, (*NAMES, "class_names"))
    except (OSError, ValueError) as failure:
        raise DataError(f"{path}: {getattr(failure, 'strerror', None) or failure}") from None
    if missing := [key for key in NAMES if key not in arrays]:
        raise DataError(f"{path}: has no {missing[0]}; expected {', '.join(NAMES)} and perhaps class_names")
    for key in ("y_train", "y_test"):
        if arrays[key].ndim == 2 and arrays[key].shape[1] == 1:  # as Keras' own data sets have them
            arrays[key] = arrays[key][:, 0]
        if arrays[key].dtype.kind not in "iu" or arrays[key].ndim != 1:
            shape = list(arrays[key].shape)
            raise DataError(f"{path}: {key} are integers [images], got {arrays[key].dtype} {shape}")
    names = arrays.get("class_names")
    if names is not None and (names.dtype.kind != "U" or names.ndim != 1):
        raise DataError(f"{path}: class_names are texts [classes], got {names.dtype} {list(names.shape)}")
    if names is None:
        labels = arrays["y_train"]
        count = int(labels.max()) + 1 if labels.size else 0
        names = np.array([str(label) for label in range(min(count, 100_000))])
    if len(set(names.tolist())) < len(names):
        raise DataError(f"{path}: class_names has {max(names.tolist(), key=names.tolist().count)!r} twice")
    if len(names) < 2:
        raise DataError(f"{path}: has a single class; expected at least two")
    return OwnArrays(
        (_in_color(arrays["x_train"]), arrays["y_train"]),
        (_in_color(arrays["x_test"]), arrays["y_test"]),
        tuple(map(str, names)),
    )


def _in_color(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    return np.repeat(images, 3, axis=3) if images.ndim == 4 and images.shape[3] == 1 else images
