"""Augmentation policies: AutoAugment, RandAugment, TrivialAugment, and lists in Fast AutoAugment's format.

A policy applies a few operations (`cifarzoo.augment.operations`) after one another, drawn at random for each image.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from keras import ops
from keras.backend import standardize_dtype
from pydantic import Field, model_validator

from cifarzoo.augment.base import CIFAR10_MEAN, Augmentation, Colour
from cifarzoo.augment.names import ABSOLUTE
from cifarzoo.augment.operations import Operation, apply, table
from cifarzoo.augment.policy_lists import check_policies, read_policies
from cifarzoo.errors import ExperimentError

# AutoAugment, https://arxiv.org/abs/1805.09501, appendix, Table 7: the policy found on reduced CIFAR-10.
AUTOAUGMENT_CIFAR10 = (
    (("Invert", 0.1, 7), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 8), ("Equalize", 0.9, 2)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 5), ("Equalize", 0.5, 1)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 7), ("AutoContrast", 0.4, 8)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 3)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 8), ("Equalize", 0.6, 4)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 6)),
    (("AutoContrast", 0.8, 4), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 3)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 2), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 8), ("Invert", 0.1, 3)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 1)),
)

# RandAugment, https://arxiv.org/abs/1909.13719, section 3; TrivialAugment draws from the same fourteen.
RANDAUGMENT_OPERATIONS = (
    "Identity",
    "AutoContrast",
    "Equalize",
    "Rotate",
    "Solarize",
    "Color",
    "Posterize",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)

FAST_AUTOAUGMENT_RANGES = {
    "ShearX": (-0.3, 0.3),
    "ShearY": (-0.3, 0.3),
    "TranslateX": (-0.45, 0.45),
    "TranslateY": (-0.45, 0.45),
    "Rotate": (-30.0, 30.0),
    "Solarize": (0.0, 256.0),
    "Posterize": (4.0, 8.0),
    "Contrast": (0.1, 1.9),
    "Color": (0.1, 1.9),
    "Brightness": (0.1, 1.9),
    "Sharpness": (0.1, 1.9),
    "Cutout": (0.0, 0.2),
    "TranslateXAbs": (0.0, 10.0),
    "TranslateYAbs": (0.0, 10.0),
    "Posterize2": (0.0, 4.0),
    "CutoutAbs": (0.0, 20.0),
}


def autoaugment_value(name: str, level: float) -> float:
    """An operation's value at a level of 0-10, as the code of AutoAugment's authors has it for CIFAR.

    It translates by at most 10 pixels and posterises to 4 - 0.4 level bits, where the paper's table says 150 pixels of
    331 and 4-8 bits.
    """
    if name in ("ShearX", "ShearY"):
        return 0.3 * level / 10
    if name in ("TranslateX", "TranslateY"):
        return int(level)
    if name == "Rotate":
        return int(3 * level)
    if name == "Solarize":
        return 256 - int(25.6 * level)
    if name == "Posterize":
        return 4 - int(0.4 * level)
    return 0.1 + 0.18 * level


def trivialaugment_value(name: str, level: int) -> float:
    """An operation's value at a level of 0-30 in TrivialAugment's wide space, as its authors' code has it."""
    if name in ("ShearX", "ShearY"):
        return 0.99 * level / 30
    if name in ("TranslateX", "TranslateY"):
        return 32 * level // 30
    if name == "Rotate":
        return 135 * level // 30
    if name == "Solarize":
        return 256 - 256 * level // 30
    if name == "Posterize":
        return 8 - 6 * level // 30
    return 0.01 + 1.99 * level / 30


def fast_autoaugment_value(name: str, level: float, width: int) -> float:
    """An operation's value at a level of 0-1, as Fast AutoAugment's code has it.

    Lengths are parts of the width, but those of `ABSOLUTE` operations.
    """
    low, high = FAST_AUTOAUGMENT_RANGES.get(name, (0.0, 1.0))
    value = level * (high - low) + low
    if name in ("TranslateX", "TranslateY", "Cutout"):
        return value * width
    return int(value) if name in ("Posterize", "Posterize2") else value


class Policy(Augmentation):
    """What the policies share: one choice out of many an image, and the kernels that carry it out.

    Attributes:
        fill: The colour that comes in from outside of a warped image; black unless a policy says otherwise.
    """

    fill: Colour = (0, 0, 0)

    @property
    def slots(self) -> int:
        """How many operations follow one another."""
        return 2

    @property
    def redrawn(self) -> bool:
        """Whether every slot draws anew from the first slot's operations, instead of one choice for all slots."""
        return False

    def operations(self, slot: int, width: int) -> tuple[Operation, ...]:
        """The operations that a slot chooses from, each as likely as the other."""
        raise NotImplementedError

    @property
    def draws_per_image(self) -> int:
        """Four a slot: which operation, whether, and two for its sign or place."""
        return 4 * self.slots

    def __call__(self, images, labels, draws):
        """Transform a batch of uint8 images."""
        _, height, width, _ = images.shape
        choices = [self.operations(slot, width) for slot in range(1 if self.redrawn else self.slots)]
        count = len(choices[0])
        parameters = _compiled(sum(choices, ()), height, width)
        numbers = ops.reshape(draws.uniform(4 * self.slots), (-1, self.slots, 4))

        def fill_slot(slot, x):
            drawn = ops.take(numbers, slot, axis=1)
            choice = drawn[:, 0] if self.redrawn else numbers[:, 0, 0]
            number = ops.minimum(ops.cast(choice * count, "int32"), count - 1)
            number = number if self.redrawn else number + slot * count
            applied = drawn[:, 1] < ops.take(ops.convert_to_tensor(parameters.probabilities), number)
            mirrored = 2 * number + ops.cast(drawn[:, 2] < 0.5, "int32")
            rows = ops.where(applied, mirrored, 2 * len(parameters.probabilities))
            return apply(x, rows, drawn[:, 2:], parameters, self.fill_colour, CIFAR10_MEAN)

        # A loop, although short: the kernels are compiled once instead of once a slot.
        x = ops.fori_loop(0, self.slots, fill_slot, _whole_numbers(images))
        return ops.cast(x, images.dtype), labels


def _whole_numbers(images):
    """Images as uint8; what came before may have left fractions."""
    if standardize_dtype(images.dtype) == "uint8":
        return images
    return ops.cast(ops.clip(ops.round(images), 0, 255), "uint8")


@lru_cache
def _compiled(operations, height, width):
    return table(operations, height, width)


class AutoAugment(Policy):
    """The 25 sub-policies found on CIFAR-10, one an image.

    Cubuk et al., https://arxiv.org/abs/1805.09501. Warped images are filled with the mean colour, as their code does.
    """

    fill: Colour = "mean"

    def operations(self, slot, width):
        """The operations of the 25 sub-policies at one of their two places."""
        chosen = (sub_policy[slot] for sub_policy in AUTOAUGMENT_CIFAR10)
        return tuple(Operation(name, chance, autoaugment_value(name, level)) for name, chance, level in chosen)


class RandAugment(Policy):
    """`operations_per_image` (N) of fourteen operations, drawn with replacement, all at one `magnitude` (M) of 0-10.

    Cubuk et al., https://arxiv.org/abs/1909.13719. Magnitudes mean what AutoAugment's levels mean. Defaults are the
    paper's for WRN-28-10 on CIFAR-10.
    """

    operations_per_image: int = Field(3, ge=1, le=8)
    magnitude: float = Field(5, ge=0, le=10)
    fill: Colour = "mean"

    @property
    def slots(self):
        """N."""
        return self.operations_per_image

    @property
    def redrawn(self):
        """Slots are independent."""
        return True

    def operations(self, slot, width):
        """The fourteen operations at this magnitude."""
        return tuple(Operation(name, 1.0, autoaugment_value(name, self.magnitude)) for name in RANDAUGMENT_OPERATIONS)


class TrivialAugment(Policy):
    """One of fourteen operations an image, at one of 31 strengths, in the wide space.

    Müller and Hutter, https://arxiv.org/abs/2103.10158.
    """

    @property
    def slots(self):
        """One."""
        return 1

    def operations(self, slot, width):
        """The fourteen operations at all of their strengths."""
        return tuple(
            Operation(name, 1.0, trivialaugment_value(name, level))
            for name in RANDAUGMENT_OPERATIONS
            for level in range(31)
        )


class PolicyList(Policy):
    """One of many sub-policies an image: `[[operation, probability, level], [operation, probability, level]]` each.

    The format and the meaning of levels (0-1) are Fast AutoAugment's (https://arxiv.org/abs/1905.00397). Sub-policies
    stand in `policies`, or in the YAML or JSON file that `file` names.

    Raises:
        ExperimentError: the file cannot be read, or a sub-policy does not fit; the message says where.
    """

    file: Path | None = None
    policies: tuple[tuple[tuple[str, float, float], ...], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, values: Any):
        if not isinstance(values, dict):
            return values
        if (values.get("file") is None) == (values.get("policies") is None):
            raise ExperimentError("policies: give either 'file' or 'policies', one of the two")
        if values.get("file") is not None:
            return {**values, "policies": read_policies(values["file"])}
        return {**values, "policies": check_policies(values["policies"], "policies")}

    def operations(self, slot, width):
        """The operations of all sub-policies at one of their two places."""
        chosen = (sub_policy[slot] for sub_policy in self.policies)
        return tuple(
            Operation(ABSOLUTE.get(name, name), chance, fast_autoaugment_value(name, level, width))
            for name, chance, level in chosen
        )
