"""From an experiment's `augmentation:` to one function on a batch."""

from keras import backend, ops
from pydantic import ValidationError

from cifarzoo.augment.base import CIFAR10_MEAN, Augmentation
from cifarzoo.augment.colour import ColourJitter
from cifarzoo.augment.mixing import CutMix, MixUp
from cifarzoo.augment.policies import AutoAugment, PolicyList, RandAugment, TrivialAugment
from cifarzoo.augment.random import Draws
from cifarzoo.augment.standard import Crop, Cutout, Flip
from cifarzoo.errors import ExperimentError

AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "crop": Crop,
    "flip": Flip,
    "cutout": Cutout,
    "jitter": ColourJitter,
    "autoaugment": AutoAugment,
    "randaugment": RandAugment,
    "trivialaugment": TrivialAugment,
    "policies": PolicyList,
    "mixup": MixUp,
    "cutmix": CutMix,
}

NAMED = {
    "none": [],
    "standard": ["crop", "flip"],
    "cutout": ["crop", "flip", "cutout"],
    "autoaugment": ["autoaugment", "crop", "flip", "cutout"],
    "randaugment": ["randaugment", "crop", "flip", "cutout"],
    "trivialaugment": ["trivialaugment", "crop", "flip", "cutout"],
    "mixup": ["crop", "flip", "mixup"],
    "cutmix": ["crop", "flip", "cutmix"],
}


class Pipeline:
    """Augmentations one after another, each with random numbers of its own.

    On TensorFlow they are one XLA program, also within a function that is not: outside of one, each of their hundred
    small operations would read and write the whole batch, at four times the cost.
    """

    def __init__(self, augmentations: list[Augmentation]):
        self.augmentations = tuple(augmentations)
        self._programs = {}

    def __call__(self, images, labels, draws):
        """Transform a batch as `Augmentation.__call__` does."""
        if not self.augmentations:
            return images, labels
        if backend.backend() != "tensorflow":
            return self._run(images, labels, draws)
        return self._program(draws.seed)(
            images,
            labels,
            ops.cast(draws.step, "int32"),
            ops.cast(draws.index, "int32"),
            ops.cast(draws.epoch, "int32"),
            None if draws.image_id is None else ops.cast(draws.image_id, "int32"),
        )

    def _program(self, seed):
        """The compiled function for a seed."""
        import tensorflow as tf

        if seed not in self._programs:

            def run(images, labels, step, index, epoch, image_id):
                return self._run(images, labels, Draws(seed, step, index, epoch, image_id))

            self._programs[seed] = tf.function(run, jit_compile=True, autograph=False)
        return self._programs[seed]

    def _run(self, images, labels, draws):
        counts = [(one.draws_per_image, one.draws_per_batch) for one in self.augmentations]
        for augmentation, numbers in zip(self.augmentations, draws.streams(counts), strict=True):
            images, labels = augmentation(images, labels, numbers)
        return images, labels


def build(description: str | list, classes: int = 10, fill: tuple[int, int, int] | None = None) -> Pipeline:
    """The pipeline of a name (`NAMED`) or of a list such as `["crop", {"cutout": {"size": 8}}]`.

    Args:
        description: The name or the list.
        classes: How many classes the data set has; mixed labels get so many columns.
        fill: The data set's mean colour (0-255), for whatever fills with it; by default CIFAR-10's.

    Raises:
        ExperimentError: an unknown name, or parameters that do not fit; the message says which entry of the list.
    """
    if isinstance(description, str):
        if description not in NAMED:
            raise ExperimentError(f"augmentation: unknown name {description!r}; it is {', '.join(NAMED)}, or a list")
        description = NAMED[description]
    if not isinstance(description, list | tuple):
        raise ExperimentError(f"augmentation: a name or a list is expected, got {description!r:.80}")
    chosen = [_one(item, place) for place, item in enumerate(description)]
    return Pipeline([augmentation.prepared(classes, fill or CIFAR10_MEAN) for augmentation in chosen])


def _one(item, place):
    name, parameters = item, {}
    if isinstance(item, dict) and len(item) == 1:
        ((name, parameters),) = item.items()
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        raise ExperimentError(f"augmentation[{place}]: {item!r:.80} is not one of {', '.join(AUGMENTATIONS)}")
    if not isinstance(parameters, dict | None):
        raise ExperimentError(f"augmentation[{place}].{name}: parameters are a mapping, got {parameters!r:.80}")
    try:
        return AUGMENTATIONS[name].model_validate(parameters or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExperimentError(f"augmentation[{place}].{name}.{where}: {first['msg']}, got {first['input']!r}") from None
    except ExperimentError as error:
        raise ExperimentError(f"augmentation[{place}].{error}") from None
