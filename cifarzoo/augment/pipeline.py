"""From an experiment's `augmentation:` to one function on a batch."""

from pydantic import ValidationError

from cifarzoo.augment.base import Augmentation
from cifarzoo.augment.standard import Crop, Cutout, Flip
from cifarzoo.errors import ExperimentError

AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "crop": Crop,
    "flip": Flip,
    "cutout": Cutout,
}

NAMED = {
    "none": [],
    "standard": ["crop", "flip"],
    "cutout": ["crop", "flip", "cutout"],
}


class Pipeline:
    """Augmentations one after another, each with random numbers of its own."""

    def __init__(self, augmentations: list[Augmentation]):
        self.augmentations = tuple(augmentations)

    def __call__(self, images, labels, draws):
        """Transform a batch as `Augmentation.__call__` does."""
        for number, augmentation in enumerate(self.augmentations):
            images, labels = augmentation(images, labels, draws.stream(number))
        return images, labels


def build(description: str | list) -> Pipeline:
    """The pipeline of a name ("none", "standard", "cutout") or a list such as `["crop", {"cutout": {"size": 8}}]`.

    Raises:
        ExperimentError: an unknown name, or parameters that do not fit; the message says which entry of the list.
    """
    if isinstance(description, str):
        if description not in NAMED:
            raise ExperimentError(f"augmentation: unknown name {description!r}; it is {', '.join(NAMED)}, or a list")
        description = NAMED[description]
    return Pipeline([_one(item, place) for place, item in enumerate(description)])


def _one(item, place):
    name, parameters = item, {}
    if isinstance(item, dict) and len(item) == 1:
        ((name, parameters),) = item.items()
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        raise ExperimentError(f"augmentation[{place}]: {item!r} is not one of {', '.join(AUGMENTATIONS)}")
    try:
        return AUGMENTATIONS[name].model_validate(parameters or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExperimentError(f"augmentation[{place}].{name}.{where}: {first['msg']}, got {first['input']!r}") from None
