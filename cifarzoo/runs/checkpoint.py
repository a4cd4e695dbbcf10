"""Checkpoints: everything the next step depends on, in one file that is either complete or absent.

A checkpoint is written under a temporary name, flushed to disk and renamed, so a process killed at any moment leaves
the earlier one intact.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.errors import CheckpointError
from cifarzoo.runs.atomic import replacing

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def save(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        path: The file.
        arrays: The engine's state.
        meta: Plain data: step, fingerprint, sums of the unfinished log interval, length of the log, provenance.

    Raises:
        CheckpointError: it cannot be written; an earlier checkpoint is still there.
    """
    contents: dict[str, Any] = {"__meta__": np.array(json.dumps(meta)), **arrays}
    try:
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **contents)
    except OSError as failure:
        kept = "the earlier checkpoint is intact" if path.exists() else "there is no earlier checkpoint"
        raise CheckpointError(f"{path}: cannot be written ({failure.strerror or failure}); {kept}") from None


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read the arrays and meta data of a checkpoint; return None if there is no file.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return arrays, json.loads(str(arrays.pop("__meta__")))
    except DAMAGE as failure:
        raise CheckpointError(
            f"{path}: damaged ({failure}); delete it to start this run again, or restore it from a copy"
        ) from None


def read_meta(path: Path) -> dict[str, Any] | None:
    """Read only the meta data of a checkpoint; return None if there is no file or it cannot be read."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return json.loads(str(archive["__meta__"]))
    except DAMAGE:
        return None


def check_state(path: Path, saved: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Raise CheckpointError, which names `path`, unless both states have the same names and shapes."""
    shapes = {name: array.shape for name, array in saved.items()}, {n: np.shape(a) for n, a in expected.items()}
    different = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
    if different:
        name = different[0][0]
        there, here = (shape.get(name) for shape in shapes)
        raise CheckpointError(f"{path}: made for another model: {name} has shape {there} there and {here} here")
