"""Parts of a training split by name: stratified reduced sets, folds, random shares, and lists of positions.

A name is a split and steps, each of which chooses among the images that the one before left:

    train45k:images=4000                      4,000 images
    train45k:images=4000:fold=2/5             the second of five disjoint folds of these
    train45k:images=4000:without_fold=2/5     the other four
    train:held_out=0.4:seed=7                 a random share of 40 %
    train:rest=0.4:seed=7                     the other 60 %
    train45k:indices=hard.npy                 positions in `train45k`

In the path of `indices`, %3A stands for a colon and %25 for %. Every step keeps the proportions of the classes and
canonical order. The choice depends on the labels, the step and its `seed` (0 unless written) and on nothing else:
NumPy's `RandomState` never changes its stream.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarzoo.data.positions_file import read_positions
from cifarzoo.errors import DataError

BASES = ("train", "train45k")
# Separates the random numbers of steps of different kinds with one seed.
STREAMS = {"images": 1, "fold": 2, "without_fold": 2, "held_out": 3, "rest": 3}
EXAMPLES = "train45k:images=4000, train45k:fold=2/5, train45k:without_fold=2/5 or train:held_out=0.4:seed=7"


@dataclass(frozen=True)
class Step:
    """One choice among images.

    Attributes:
        kind: A key of `STREAMS`, or "indices".
        value: Number of images, (fold, folds), share, or path.
        seed: Of the choice.
    """

    kind: str
    value: int | float | tuple[int, int] | str
    seed: int = 0

    def __str__(self) -> str:
        value = "/".join(map(str, self.value)) if isinstance(self.value, tuple) else f"{self.value}"
        if isinstance(self.value, float):
            value = np.format_float_positional(self.value, trim="-")
        value = value.replace("%", "%25").replace(":", "%3A")  # colons separate steps
        return f"{self.kind}={value}" + (f":seed={self.seed}" if self.seed else "")

    def choose(self, labels: np.ndarray, name: str, read: Callable[[str], np.ndarray]) -> np.ndarray:
        """Return the chosen positions, ascending, among images with these labels, int [n].

        Args:
            labels: The labels.
            name: The part's name, for messages.
            read: Returns the positions in a file.

        Raises:
            DataError: there are too few images, or a file of positions cannot be read or does not fit.
        """
        if self.kind == "indices":
            return _checked(read(str(self.value)), len(labels), f"split {name!r:.200}: {self.value}")
        classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        random = np.random.RandomState([self.seed, STREAMS[self.kind]])
        shuffled = [members[random.permutation(len(members))] for members in classes]
        if self.kind == "images":
            counts = _shares(int(self.value), [len(members) for members in classes], name)  # type: ignore[arg-type]
            return np.sort(np.concatenate([members[:n] for members, n in zip(shuffled, counts, strict=True)]))
        chosen = np.zeros(len(labels), bool)
        if isinstance(self.value, tuple):
            fold, folds = self.value
            # Classes continue where the one before ended, so that folds differ by one image at most.
            order = np.concatenate(shuffled)
            chosen[order[fold - 1 :: folds]] = True
        else:
            counts = _shares(round(float(self.value) * len(labels)), [len(members) for members in classes], name)
            for members, n in zip(shuffled, counts, strict=True):
                chosen[members[:n]] = True
        if self.kind in ("without_fold", "rest"):
            chosen = ~chosen
        if not chosen.any():
            raise DataError(f"{name}: {self}: leaves none of {len(labels):,} images")
        return np.flatnonzero(chosen)


@dataclass(frozen=True)
class Subset:
    """A part of a training split.

    Attributes:
        base: "train" or "train45k".
        steps: What chooses among its images.
    """

    base: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return ":".join([self.base, *map(str, self.steps)])

    def choose(self, labels: np.ndarray, read: Callable[[str], np.ndarray] | None = None) -> np.ndarray:
        """Return the chosen positions, ascending, among the images of `base`, whose labels these are.

        Args:
            labels: int [n].
            read: Returns the positions in a file; by default names are paths.

        Raises:
            DataError: see `Step.choose`.
        """
        positions = np.arange(len(labels))
        for step in self.steps:
            positions = positions[step.choose(labels[positions], str(self), read or _read)]
        return positions

    def size(self, images: int, classes: int, read: Callable[[str], np.ndarray] | None = None) -> int:
        """Return the number of images, if all classes are equally frequent among the `images` of `base`.

        Raises:
            DataError: see `Step.choose`.
        """
        return len(self.choose(np.arange(images) % classes, read))

    @property
    def files(self) -> list[str]:
        """The files with positions that decide it."""
        return [str(step.value) for step in self.steps if step.kind == "indices"]


def is_subset(name: str) -> bool:
    """Whether a split's name is that of a part of another."""
    return ":" in name


def parse(name: str) -> Subset:
    """Read the name of a part; see the module.

    Raises:
        DataError: it is not one.
    """
    base, *parts = name.split(":")
    if base not in BASES or not parts:
        raise DataError(f"split {name!r:.200}: expected a part of train or train45k, such as {EXAMPLES}")
    steps: list[Step] = []
    for part in parts:
        key, _, value = part.partition("=")
        if key == "seed" and steps and steps[-1].kind in STREAMS and re.fullmatch(r"\d{1,9}", value):
            steps[-1] = Step(steps[-1].kind, steps[-1].value, int(value))
        else:
            steps.append(_step(key, value, name))
    return Subset(base, tuple(steps))


def _step(key: str, value: str, name: str) -> Step:
    if key == "images" and re.fullmatch(r"[1-9]\d{0,8}", value):
        return Step(key, int(value))
    if key in ("fold", "without_fold") and (parts := re.fullmatch(r"(\d{1,4})/(\d{1,4})", value)):
        fold, folds = map(int, parts.groups())
        if 1 <= fold <= folds and folds > 1:
            return Step(key, (fold, folds))
        raise DataError(f"split {name!r:.200}: {key}: expected K/N with K from 1 to N, N at least 2, got {value}")
    if key in ("held_out", "rest") and re.fullmatch(r"0?\.\d{1,20}", value):
        if 0 < float(value) < 1:
            return Step(key, float(value))
        raise DataError(f"split {name!r:.200}: {key}: expected a share between 0 and 1, got {value}")
    if key == "indices" and value:
        return Step(key, value.replace("%3A", ":").replace("%25", "%"))
    raise DataError(f"split {name!r:.200}: cannot read {key}={value!s:.100}; expected a part such as {EXAMPLES}")


def _shares(total: int, sizes: list[int], name: str) -> list[int]:
    """Split a number over classes in proportion to their sizes, by the largest remainders."""
    if not 0 < total <= sum(sizes):
        raise DataError(f"split {name!r:.200}: has {sum(sizes):,} images, cannot choose {total:,} of them")
    exact = np.array(sizes) * (total / sum(sizes))
    counts = np.floor(exact + 1e-9).astype(int)
    for label in np.argsort(-(exact - counts), kind="stable")[: total - counts.sum()]:
        counts[label] += 1
    return counts.tolist()


def _read(path: str) -> np.ndarray:
    try:
        return read_positions(Path(path).expanduser())
    except (OSError, RuntimeError) as failure:
        raise DataError(f"indices: {path!s:.200}: cannot be read ({failure!s:.100})") from None
    except DataError as failure:
        raise DataError(f"indices: {path!s:.200}: {failure}") from None


def _checked(positions: np.ndarray, size: int, where: str) -> np.ndarray:
    if wrong := positions[(positions < 0) | (positions >= size)].tolist():
        raise DataError(f"{where}: positions are from 0 to {size - 1:,}, got {wrong[0]:,}")
    unique = np.unique(positions)
    if len(unique) != len(positions):
        raise DataError(f"{where}: lists a position twice")
    return unique
