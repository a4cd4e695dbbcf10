"""Checkpoints: everything the next step depends on, in one file that is either complete or absent.

A checkpoint is written under a temporary name, flushed to disk and renamed, so a process killed at any moment leaves
the earlier one intact.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from cifarzoo import npz
from cifarzoo.errors import CheckpointError
from cifarzoo.runs.atomic import replacing

META = "__meta__"


class _Steady(BaseModel):
    images: float
    seconds: float


class _Sums(BaseModel):
    loss: float
    error: float
    gradient_norm: float
    steps: float
    seconds: float


class _Validation(BaseModel):
    value: float
    step: NonNegativeInt


class _Watch(BaseModel):
    stops: bool
    improved: _Validation | None
    best: _Validation | None


class _Meta(BaseModel):
    """The meta data that a resumed run needs, with their types."""

    model_config = ConfigDict(extra="allow")

    step: NonNegativeInt
    log_length: NonNegativeInt
    fingerprint: str
    sources: dict[str, list[str]] = {}  # runs of earlier versions have none
    provenance: dict[str, str | dict[str, str | None] | None]
    seconds: float
    steady: _Steady
    sums: _Sums
    watch: _Watch | None = None  # of runs with early_stopping or best_weights


def save(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        path: The file.
        arrays: The engine's state.
        meta: Plain data: step, fingerprint, sums of the unfinished log interval, length of the log, provenance.

    Raises:
        CheckpointError: it cannot be written; an earlier checkpoint is still there.
    """
    contents: dict[str, Any] = {META: np.array(json.dumps(meta)), **arrays}
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
        arrays = npz.read(path)
        return arrays, _parse(arrays.pop(META, None))
    except (OSError, ValueError) as failure:
        raise CheckpointError(
            f"{path}: damaged ({failure}); delete it to start this run again, or restore it from a copy"
        ) from None


def read_meta(path: Path) -> dict[str, Any] | None:
    """Read only the meta data of a checkpoint; return None if there is no file or it cannot be read."""
    try:
        return _parse(npz.read(path, only=(META,)).get(META))
    except (OSError, ValueError):
        return None


def _parse(text: np.ndarray | None) -> dict[str, Any]:
    """Return a file's meta data after checking their types.

    Raises:
        ValueError: they are missing, not JSON, or of other types. The message is one line.
    """
    if text is None:
        raise ValueError(f"{META} is missing")
    try:
        document = json.loads(str(text))
        _Meta.model_validate(document)
    except RecursionError:
        raise ValueError(f"{META} is nested too deeply") from None
    except ValidationError as failure:
        problem = failure.errors()[0]
        key = ".".join(map(str, (META, *problem["loc"])))
        raise ValueError(f"{key}: {problem['msg']}") from None
    return document


def check_state(path: Path, saved: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Raise a CheckpointError that names `path`, unless the states agree in names, shapes and kinds of numbers."""
    shapes = {name: np.shape(array) for name, array in saved.items()}, {n: np.shape(a) for n, a in expected.items()}
    kinds = {name: _kind(array) for name, array in saved.items()}, {name: _kind(a) for name, a in expected.items()}
    if missing := sorted(set(saved) ^ set(expected)):
        where = "there and not here" if missing[0] in saved else "here and not there"
        raise CheckpointError(f"{path}: made for another model: {missing[0]} exists {where}")
    for what, (there, here) in (("shape ", shapes), ("", kinds)):
        for name in sorted(there):
            if there[name] != here[name]:
                differs = f"{name} has {what}{there[name]} there and {what}{here[name]} here"
                raise CheckpointError(f"{path}: made for another model: {differs}")


def _kind(array: Any) -> str:
    kind = np.asarray(array).dtype.kind
    return {"i": "integers", "u": "integers", "f": "floats"}.get(kind, f"values of kind {kind}")
