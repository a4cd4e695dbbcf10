"""The table of a fold: how its network does under every sub-policy. It is measured and kept in shards, one per file.

A shard holds all sub-policies that begin with one transformation. It is a pure function of the network's file, the
held-out images and the space, whose hashes it records, so any process may measure any shard.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cifarzoo import npz
from cifarzoo.errors import DataError, TrainingError
from cifarzoo.runs import atomic
from cifarzoo.search.space import Space

VERSION = 2
LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclasses.dataclass(frozen=True)
class Shard:
    """The sub-policies that begin with one transformation, by the number of the second.

    Attributes:
        identity: See `identity_of`.
        first: The number of the first transformation.
        loss: Cross-entropy in nats, float16 [cells, images].
        correct: Whether the prediction is right, bool [cells, images].
        mean_loss: float64 [cells], before rounding to float16.
        accuracy: Share of correct predictions, float64 [cells].
        seconds: Time to measure it.
    """

    identity: str
    first: int
    loss: np.ndarray
    correct: np.ndarray
    mean_loss: np.ndarray
    accuracy: np.ndarray
    seconds: float


@dataclasses.dataclass(frozen=True)
class Table:
    """The table of one fold.

    Attributes:
        loss: Mean cross-entropy in nats by first and second transformation, float64 [cells, cells].
        accuracy: Share of correct predictions, float64 [cells, cells].
        correct: Whether single images are recognized, bool [cells, cells, images].
        seconds: Time to measure it.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    correct: np.ndarray
    seconds: float


def identity_of(weights: str, images: str, space: Space, precision: str) -> str:
    """Return the hash of everything that a fold's table depends on.

    Args:
        weights: SHA-256 of the network's file.
        images: `HeldOut.digest`.
        space: The transformations.
        precision: That of the network's arithmetic.
    """
    document = {
        "version": VERSION,
        "weights": weights,
        "images": images,
        "cells": space.cells,
        "width": space.width,
        "kernels": [hashlib.sha256(array.tobytes()).hexdigest() for array in (space.table.rows, space.table.look_ups)],
        "precision": precision,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def measure_shard(scores: Callable[[int], tuple[np.ndarray, np.ndarray]], first: int, identity: str) -> Shard:
    """Measure the sub-policies that begin with one transformation.

    Args:
        scores: `Scorer.scores`.
        first: The number of the transformation.
        identity: See `identity_of`.

    Raises:
        TrainingError: the network's outputs are not finite.
    """
    started = time.perf_counter()
    loss, correct = scores(first)
    if not np.isfinite(loss).all():
        raise TrainingError("the network's outputs are not finite; train it at a lower learning rate")
    half = np.minimum(loss, LARGEST_HALF).astype(np.float16)
    means = loss.mean(axis=1, dtype=np.float64), correct.mean(axis=1, dtype=np.float64)
    return Shard(identity, first, half, correct, *means, time.perf_counter() - started)


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard; several processes may write the same one."""
    arrays = dataclasses.asdict(shard) | {"correct": np.packbits(shard.correct, axis=1)}
    with atomic.replacing(path, shared=True) as temporary:
        with open(temporary, "wb") as file:  # given a path, NumPy would change its suffix
            np.savez(file, **arrays)


def read_shard(path: Path, identity: str, first: int, cells: int, images: int) -> Shard:
    """Read a shard.

    Args:
        path: The file.
        identity: What it has to be measured on; see `identity_of`.
        first: The number of its first transformation.
        cells: Number of transformations.
        images: Number of held-out images.

    Raises:
        DataError: the file is missing or damaged, or belongs to another network, other images or another space.
    """
    try:
        arrays = npz.read(path)
        own = str(arrays["identity"]), int(arrays["first"])
        correct = np.unpackbits(arrays["correct"], axis=1)[:, :images].astype(bool)
        shard = Shard(*own, arrays["loss"], correct, arrays["mean_loss"], arrays["accuracy"], float(arrays["seconds"]))
        shapes = [array.shape for array in (shard.loss, shard.correct, shard.mean_loss, shard.accuracy)]
    except FileNotFoundError:
        raise DataError(f"{path}: missing: this part of the table has not been measured") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise DataError(f"{path}: damaged ({reason}); delete it, and the same command measures it again") from None
    if own != (identity, first):
        raise DataError(
            f"{path}: measured with another network, other images or operations, or an earlier version; delete the "
            f"folder {path.parent}, and the same command measures it again"
        )
    consistent = shapes == [(cells, images), (cells, images), (cells,), (cells,)]
    if not consistent or not np.array_equal(shard.correct.mean(axis=1), shard.accuracy):
        raise DataError(
            f"{path}: damaged (its arrays contradict each other); delete it, and the same command measures it again"
        )
    return shard


class TableFiles:
    """The shards of one fold's table on disk.

    Args:
        folder: Where they are.
        identity: See `identity_of`.
        cells: Number of transformations.
        images: Number of held-out images.
    """

    def __init__(self, folder: Path, identity: str, cells: int, images: int):
        self.folder, self.identity, self._cells, self._images = folder, identity, cells, images

    def path(self, first: int) -> Path:
        """Return the path of the shard that begins with a transformation."""
        return self.folder / f"shard{first:04}.npz"

    def missing(self) -> list[int]:
        """Return the shards that have not been measured, after checking the others.

        Raises:
            DataError: one is damaged or belongs to something else.
        """
        missing = []
        for first in range(self._cells):
            if self.path(first).is_file():
                self._read(first)
            else:
                missing.append(first)
        return missing

    def measure(self, scores: Callable[[int], tuple[np.ndarray, np.ndarray]], first: int) -> None:
        """Measure a shard and write its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_shard(self.path(first), measure_shard(scores, first, self.identity))

    def read(self) -> Table:
        """Return the whole table.

        Raises:
            DataError: a shard is missing, damaged or belongs to something else.
        """
        shards = [self._read(first) for first in range(self._cells)]

        def stack(name: str) -> np.ndarray:
            return np.stack([getattr(shard, name) for shard in shards])

        atomic.remove_temporary(self.folder, "npz", older_than=atomic.ABANDONED)
        seconds = sum(shard.seconds for shard in shards)
        return Table(stack("mean_loss"), stack("accuracy"), stack("correct"), seconds)

    def _read(self, first: int) -> Shard:
        return read_shard(self.path(first), self.identity, first, self._cells, self._images)


def bilinear(values: np.ndarray, first, p_first, second, p_second) -> np.ndarray:
    """Return the expectation over sub-policies' probabilities: exact, because what is random is only what applies.

    Args:
        values: By first and second transformation, [cells, cells, ...]; 0 changes nothing.
        first: The number of the first transformation, int or int [n].
        p_first: Its probability.
        second: The number of the second transformation.
        p_second: Its probability.
    """
    p, q = np.asarray(p_first, float), np.asarray(p_second, float)
    return (
        (1 - p) * (1 - q) * values[0, 0]
        + p * (1 - q) * values[first, 0]
        + (1 - p) * q * values[0, second]
        + p * q * values[first, second]
    )
