"""Check what the user's own augmentations do to a few images before training."""

import numpy as np
from keras import ops

from cifarzoo.augment.own_spec import KerasLayer, OwnFunction
from cifarzoo.augment.pipeline import Pipeline
from cifarzoo.augment.random import Draws
from cifarzoo.errors import ExperimentError

STEPS = 2
# Standardized pixels, and pixels from 0 to 1, are below; of other images hardly a single one is.
SMALL = 16.0


def check_own(pipeline: Pipeline, images: np.ndarray, targets: np.ndarray) -> None:
    """Check that own augmentations depend on nothing but their arguments, and leave the scale of pixels.

    Each is called twice with the same arguments. Its code runs when the step is compiled, so random numbers from
    elsewhere would become constants, and others in a resumed run.

    Args:
        pipeline: The augmentations; nothing is computed unless some are the user's own.
        images: uint8 [n, height, width, 3], a few.
        targets: Their labels, int32 [n], or float32 [n, classes] if they are soft.

    Raises:
        ExperimentError: one of them fails, repeats nothing, or scales pixels.
    """
    if not any(isinstance(spec, OwnFunction | KerasLayer) for spec in pipeline.specs):
        return
    positions = np.arange(len(images), dtype=np.int32)
    batch = ops.convert_to_tensor(images), ops.convert_to_tensor(targets)
    for step in range(STEPS):
        draws = Draws(0, step, positions, 0, positions)
        before = images
        runs = (pipeline.stages(*batch, draws) for _ in range(2))
        for (number, *first), (_, *second) in zip(*runs, strict=True):
            spec = pipeline.specs[number]
            name = _name(spec)
            after, again = (list(map(ops.convert_to_numpy, results)) for results in (first, second))
            if name and not all(map(_are_equal, after, again)):
                raise ExperimentError(
                    f"augmentation[{number}]: {name}: returns something else when it is called again with the same "
                    "images, labels and draws, so that a resumed run would differ; draw from `draws` only"
                )
            if name and _largest(after[0]) <= SMALL < _largest(before) and np.ptp(after[0]):
                raise ExperimentError(
                    f"augmentation[{number}]: {name}: turns pixels from {before.min():.3g} to {before.max():.3g} into "
                    f"values from {after[0].min():.3g} to {after[0].max():.3g}; networks take pixels from 0 to 255 and "
                    "normalize them themselves, and images are not augmented when they are measured"
                )
            before = after[0]


def _name(spec) -> str:
    """Return the name of an own augmentation, "" for any other."""
    if isinstance(spec, OwnFunction):
        return f"{spec.module}.{spec.function}"
    return f"keras: {spec.layer}" if isinstance(spec, KerasLayer) else ""


def _are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _largest(images: np.ndarray) -> float:
    return float(np.abs(np.asarray(images, np.float32)).max())
