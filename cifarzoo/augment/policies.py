"""Augmentation policies: AutoAugment, RandAugment, TrivialAugment, and lists in Fast AutoAugment's format.

A policy applies a few operations (`cifarzoo.augment.operations`) in a row, drawn at random per image.
"""

from functools import lru_cache, singledispatch

import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from cifarzoo.augment import spec
from cifarzoo.augment.base import CIFAR10_MEAN
from cifarzoo.augment.operations import GEOMETRIC, Operation, apply, table
from cifarzoo.augment.policy_lists import ABSOLUTE

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
    """Return an operation's value at a level of 0-10, as in the code of AutoAugment's authors for CIFAR.

    The code translates by at most 10 pixels and posterizes to 4 - 0.4 level bits; the paper's table says 150 pixels of
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
    """Return an operation's value at a level of 0-30 in TrivialAugment's wide space, as in its authors' code."""
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
    """Return an operation's value at a level of 0-1, as in Fast AutoAugment's code.

    Lengths are parts of the width, except those of `ABSOLUTE` operations.
    """
    low, high = FAST_AUTOAUGMENT_RANGES.get(name, (0.0, 1.0))
    value = level * (high - low) + low
    if name in ("TranslateX", "TranslateY", "Cutout"):
        return value * width
    return int(value) if name in ("Posterize", "Posterize2") else value


@singledispatch
def operations(policy: spec.Policy, slot: int, width: int) -> tuple[Operation, ...]:
    """Return the operations that a slot of a policy chooses from, all equally likely.

    Args:
        policy: The policy.
        slot: Which of `policy.slots`, from 0.
        width: Width of the images in pixels.
    """
    raise NotImplementedError(type(policy))


@operations.register
def _(policy: spec.AutoAugment, slot, width):
    chosen = (sub_policy[slot] for sub_policy in AUTOAUGMENT_CIFAR10)
    return tuple(Operation(name, chance, autoaugment_value(name, level)) for name, chance, level in chosen)


@operations.register
def _(policy: spec.RandAugment, slot, width):
    return tuple(Operation(name, 1.0, autoaugment_value(name, policy.magnitude)) for name in RANDAUGMENT_OPERATIONS)


@operations.register
def _(policy: spec.TrivialAugment, slot, width):
    return tuple(
        Operation(name, 1.0, trivialaugment_value(name, level))
        for name in RANDAUGMENT_OPERATIONS
        for level in range(31)
    )


@operations.register
def _(policy: spec.PolicyList, slot: int, width: int):
    chosen = (sub_policy[slot] for sub_policy in policy.policies)
    return tuple(
        Operation(ABSOLUTE.get(name, name), chance, fast_autoaugment_value(name, level, width))
        for name, chance, level in chosen
    )


def apply_policy(policy: spec.Policy, images, labels, draws, dataset):
    """Apply a policy to a batch; the result is uint8, cast to the type of the images."""
    _, height, width, _ = images.shape
    parameters = _kernel_parameters(_all_operations(policy, width), height, width)
    numbers = ops.reshape(draws.uniform(4 * policy.slots), (-1, policy.slots, 4))
    fill = dataset.color(policy.fill)

    def fill_slot(slot, x):
        number, applied, drawn = _drawn(policy, numbers, slot, parameters.probabilities)
        mirrored = 2 * number + ops.cast(drawn[:, 2] < 0.5, "int32")
        rows = ops.where(applied, mirrored, 2 * len(parameters.probabilities))
        return apply(x, rows, drawn[:, 2:], parameters, fill, CIFAR10_MEAN)

    # A loop, although a short one, compiles the kernels once instead of once per slot.
    x = ops.fori_loop(0, policy.slots, fill_slot, _whole_numbers(images))
    return ops.cast(x, images.dtype), labels


def drawn_operations(policy: spec.Policy, draws, width: int) -> list[list[tuple[str, float]]]:
    """Return the operations that a policy applies to each image, in order, as names and values.

    Args:
        policy: The policy.
        draws: Its random numbers, as for `apply_policy`.
        width: Width of the images in pixels.
    """
    choices = _all_operations(policy, width)
    numbers = ops.reshape(draws.uniform(4 * policy.slots), (-1, policy.slots, 4))
    result: list[list[tuple[str, float]]] = [[] for _ in range(len(numbers))]
    for slot in range(policy.slots):
        drawn = _drawn(policy, numbers, slot, np.array([choice.probability for choice in choices], "float32"))
        for applied_to_image, number, applied, uniform in zip(
            result, *(ops.convert_to_numpy(part) for part in drawn), strict=True
        ):
            name, _, value = choices[number]
            if applied:
                applied_to_image.append((name, -value if name in GEOMETRIC and uniform[2] < 0.5 else value))
    return result


def _all_operations(policy, width):
    """Return the operations that a policy chooses from; if the slots differ, those of all slots one after another."""
    slots = range(1 if policy.independent_slots else policy.slots)
    return sum((operations(policy, slot, width) for slot in slots), ())


def _drawn(policy, numbers, slot, probabilities):
    """Return a slot's draws per image: the operation's index, whether to apply it, and the slot's random numbers."""
    count = len(probabilities) if policy.independent_slots else len(probabilities) // policy.slots
    drawn = ops.take(numbers, slot, axis=1)
    choice = drawn[:, 0] if policy.independent_slots else numbers[:, 0, 0]
    number = ops.minimum(ops.cast(choice * count, "int32"), count - 1)
    number = number if policy.independent_slots else number + slot * count
    applied = drawn[:, 1] < ops.take(ops.convert_to_tensor(probabilities), number)
    return number, applied, drawn


def _whole_numbers(images):
    """Round images to uint8; an earlier augmentation may have left fractions."""
    if standardize_dtype(images.dtype) == "uint8":
        return images
    return ops.cast(ops.clip(ops.round(images), 0, 255), "uint8")


@lru_cache
def _kernel_parameters(operations, height, width):
    return table(operations, height, width)
