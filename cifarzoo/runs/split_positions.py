"""The positions of the images that a run trained on and was measured on, where its splits are parts of another."""

from pathlib import Path

import numpy as np

from cifarzoo import npz
from cifarzoo.errors import DataError
from cifarzoo.runs import atomic

PARTS = "parts.npz"


class StoredParts:
    """A file in a run's folder; runs on whole splits have none.

    Args:
        folder: The run's folder.

    Attributes:
        path: The file.
    """

    def __init__(self, folder: Path):
        self.path = folder / PARTS

    def read(self) -> dict[str, np.ndarray]:
        """Return positions in the training split, integers [n], by the parts' names; empty without a file.

        Raises:
            DataError: the file cannot be read, or is damaged.
        """
        if not self.path.is_file():
            return {}
        try:
            arrays = npz.read(self.path)
            names = [str(name) for name in arrays.pop("names")]
            return {name: arrays[f"part{number}"] for number, name in enumerate(names)}
        except (OSError, ValueError, KeyError) as failure:
            raise DataError(f"{self.path}: {getattr(failure, 'strerror', None) or failure}") from None

    def write(self, parts: dict[str, np.ndarray]) -> None:
        """Write what `read` returns, if there are any parts.

        Raises:
            OSError: the file cannot be written.
        """
        if parts:
            arrays = {f"part{number}": positions for number, positions in enumerate(parts.values())}
            arrays["names"] = np.array(list(parts))
            with atomic.replacing(self.path) as path:
                np.savez(path, **arrays)  # type: ignore[arg-type]
