"""The images that a fold's network has not seen, each with the random numbers that it keeps for every policy."""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np

from cifarzoo.data.subsets import Step
from cifarzoo.errors import CheckpointError, DataError
from cifarzoo.runs.folder import RunFolder
from cifarzoo.search.plan import SearchPlan
from cifarzoo.training.job import Job
from cifarzoo.training.training_data import part_positions

STREAM = 4  # of random numbers, apart from those of `cifarzoo.data.subsets`
SLOTS = 2


@dataclass(frozen=True)
class HeldOut:
    """Held-out images of a fold.

    All policies see the same images, signs and places of Cutout ("common random numbers"), so that their differences
    are those of pairs.

    Attributes:
        images: uint8 [n, height, width, 3].
        labels: int32 [n].
        draws: float32 [n, 2, 2] in [0, 1), for each of a sub-policy's two operations: the column of Cutout's center,
            which also decides the sign of geometric operations (negative below 0.5), and the row.
    """

    images: np.ndarray
    labels: np.ndarray
    draws: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of images, labels and random numbers."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels.astype("<i4"), self.draws.astype("<f4")):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def held_out(plan: SearchPlan, fold: int, job: Job) -> HeldOut:
    """Return the images of a fold on which its network is measured, with the classes in their proportions.

    Args:
        plan: The search.
        fold: The fold, from 1.
        job: The training of its network.
    """
    split = job.validation()
    if plan.images < len(split):
        step = Step("images", plan.images, plan.seed)
        split = split.take(step.choose(split.labels, job.experiment.val_split, lambda path: np.zeros(0, np.int64)))
    random = np.random.RandomState([plan.seed, STREAM, fold])
    draws = random.randint(0, 2**24, (len(split), SLOTS, 2)) / np.float32(2**24)
    return HeldOut(split.images, split.labels.astype(np.int32), draws.astype(np.float32))


def check_parts(run: RunFolder, job: Job, remedy: str) -> None:
    """Check that a network was trained on the images that its splits have now, so that it saw none that are held out.

    Args:
        run: Its run.
        job: Its training as the plan has it.
        remedy: What to do if the run does not say on which images, for messages.

    Raises:
        DataError: the run does not say. CheckpointError: it was trained on others.
    """
    try:
        before = run.parts.read()
    except DataError as failure:
        raise DataError(f"{failure}; {remedy}") from None
    now = part_positions(job.experiment, job.arrays)
    if missing := [name for name in now if name not in before]:
        raise DataError(f"{run.parts.path}: does not say which images {missing[0]} has; {remedy}")
    if any(not np.array_equal(before[name], now[name]) for name in now):
        raise CheckpointError(
            f"{run}: was trained on other images than its splits have now; restore them, or set another folder"
        )
