"""Keep the arrays of decoded images in the user's cache, so that the next run starts at once."""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo import npz

logger = logging.getLogger("cifarzoo")

# Files of other versions are not read. Increase it with every change of what decoding computes.
DECODING = 2
ABANDONED = 3600  # seconds without a write after which a temporary file is nobody's


@dataclass(frozen=True, eq=False)
class OwnArrays:
    """Images of both splits and the names of their classes; shapes are those of `Split`."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    class_names: tuple[str, ...]


def cache_folder() -> Path:
    """Return the folder of decoded images: `datasets` in `$CIFARZOO_CACHE`, or `datasets/cifarzoo` in Keras' folder."""
    if own := os.environ.get("CIFARZOO_CACHE"):
        return Path(own).expanduser() / "datasets"
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "datasets" / "cifarzoo"


def cached(name: str, facts: Any, decode: Callable[[], OwnArrays]) -> OwnArrays:
    """Return what `decode` returned for the same facts before; else call it and keep the result.

    Args:
        name: Name of the data set; the file's name begins with it.
        facts: Plain data on which the result depends: the files with their sizes and times, and the settings.
        decode: Reads the images.
    """
    text = json.dumps([DECODING, facts], sort_keys=True, ensure_ascii=True)
    path = cache_folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}.npz"
    if path.is_file():
        try:
            arrays = npz.read(path)
            return OwnArrays(
                (arrays["train_images"], arrays["train_labels"]),
                (arrays["test_images"], arrays["test_labels"]),
                tuple(map(str, arrays["class_names"])),
            )
        except (OSError, ValueError, KeyError) as failure:
            logger.warning("%s: not read, the images are decoded again (%s)", path, failure)
    decoded = decode()
    _keep(path, decoded)
    return decoded


def _keep(path: Path, decoded: OwnArrays) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f".{path.name}.*"):  # of a process that was killed
            if time.time() - other.stat().st_mtime > ABANDONED:
                other.unlink()
        with open(temporary, "wb") as file:
            np.savez(
                file,
                train_images=decoded.train[0],
                train_labels=decoded.train[1],
                test_images=decoded.test[0],
                test_labels=decoded.test[1],
                class_names=np.array(decoded.class_names),
            )
        os.replace(temporary, path)
    except OSError as failure:
        logger.warning("%s: cannot be written (%s); the next run decodes the images again", path, failure.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink()
