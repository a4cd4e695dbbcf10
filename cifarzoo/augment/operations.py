"""The operations that augmentation policies are made of, and their parameters for the kernels.

Names and meaning are those of AutoAugment (https://arxiv.org/abs/1805.09501, Table 6), values have units of their own.
A policy is turned into one table of integers on the host; the compiled step picks a row an image and runs the kernels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from keras import ops

from cifarzoo.augment import kernels
from cifarzoo.augment.standard import box
from cifarzoo.errors import ExperimentError

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
PER_CHANNEL = ("AutoContrast", "Invert", "Equalize", "Solarize", "Posterize", "Contrast", "Brightness")
BLENDING = ("Color", "Sharpness")
OPERATIONS = (*GEOMETRIC, *PER_CHANNEL, *BLENDING, "Cutout")

# Which table an image gets from the look-up kernel, and which degenerate image from the blending one.
FIXED, CONTRAST, AUTOCONTRAST, EQUALIZE = range(4)
NOTHING, COLOR, SHARPNESS = range(3)


class Operation(NamedTuple):
    """One operation of a policy.

    Attributes:
        name: One of `OPERATIONS`, or "Identity".
        probability: How often it is applied.
        value: A slope (shear), pixels (translation, side of Cutout), degrees (rotation), the threshold (solarise), bits
            that stay (posterise), or a factor where 1 changes nothing (contrast, colour, brightness, sharpness).
    """

    name: str
    probability: float
    value: float


@dataclass(frozen=True)
class Table:
    """Kernel parameters of many operations, for images of one size.

    Attributes:
        names: Which operations occur; kernels that none of them needs are left out.
        probabilities: float32 [operations].
        rows: int32 [2 * operations + 1, 12]; an operation's row, the row of its mirrored form (the same where there is
            none), ..., and last the row that changes nothing. Columns: six of the matrix times 65536, number of a
            look-up table, kind of look-up, factor times 2^20, kind of blend, side of the box in whole pixels (-1 for
            none) and half the side times 65536.
        look_ups: int32 [tables, 256].
    """

    names: frozenset[str]
    probabilities: np.ndarray
    rows: np.ndarray
    look_ups: np.ndarray


def table(operations: Sequence[Operation], height: int, width: int) -> Table:
    """The kernel parameters of these operations on images of this size.

    Raises:
        ExperimentError: the images are larger than 4096 pixels.
    """
    if height * width > kernels.MAX_PIXELS:
        raise ExperimentError(
            f"augmentation policies take images of up to {kernels.MAX_PIXELS} pixels, got {height}x{width}"
        )
    look_ups = {tuple(range(256)): 0}
    rows = []
    for name, _, value in operations:
        rows += [
            _row(name, value, height, width, look_ups),
            _row(name, -value if name in GEOMETRIC else value, height, width, look_ups),
        ]
    rows.append(_row("Identity", 0.0, height, width, look_ups))
    return Table(
        frozenset(operation.name for operation in operations),
        np.array([operation.probability for operation in operations], "float32"),
        np.array(rows, "int32"),
        np.array(list(look_ups), "int32"),
    )


def _row(name, value, height, width, look_ups):
    matrix = _matrix(name, value, height, width)
    entries = tuple(_fixed_table(name, value))
    kind = {"Contrast": CONTRAST, "AutoContrast": AUTOCONTRAST, "Equalize": EQUALIZE}.get(name, FIXED)
    factor = round(value * (1 << kernels.FACTOR_BITS)) if name in ("Contrast", "Color", "Sharpness") else 0
    degenerate = {"Color": COLOR, "Sharpness": SHARPNESS}.get(name, NOTHING)
    side = math.floor(value) if name == "Cutout" and value > 0 else -1
    half = round(value * (1 << 15)) if side >= 0 else 0
    return [*matrix, look_ups.setdefault(entries, len(look_ups)), kind, factor, degenerate, side, half]


def _matrix(name, value, height, width):
    """From a target pixel's place to its source's, in 16.16 fixed point, with Pillow's rounding."""
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0
    if name == "ShearX":
        b = value
    elif name == "ShearY":
        d = value
    elif name == "TranslateX":
        c = math.floor(value + 0.5)
    elif name == "TranslateY":
        f = math.floor(value + 0.5)
    elif name == "Rotate":
        angle = -math.radians(value % 360.0)
        a, b = round(math.cos(angle), 15), round(math.sin(angle), 15)
        d, e = -b, a
        c = a * (-width / 2) + b * (-height / 2) + width / 2
        f = d * (-width / 2) + e * (-height / 2) + height / 2
    half_a_pixel = (a, b, c + 0.5 * (a + b), d, e, f + 0.5 * (d + e))
    return [math.floor(number * 65536.0 + 0.5) for number in half_a_pixel]


def _fixed_table(name, value):
    """The look-up table of an operation that is the same for every image."""
    values = np.arange(256)
    if name == "Invert":
        return (255 - values).tolist()
    if name == "Solarize":
        return np.where(values < value, values, 255 - values).tolist()
    if name == "Posterize":
        return (values & ~((1 << (8 - int(value))) - 1)).tolist()
    if name == "Brightness":
        return np.clip(np.float32(value) * values.astype("float32"), 0, 255).astype("int64").tolist()
    return values.tolist()


def apply(images, rows, corner, parameters: Table, fill, box_fill):
    """Run the kernels that `parameters` needs, each image with its own row.

    Args:
        images: int32 [batch, height, width, 3].
        rows: int32 [batch], which row of the table.
        corner: float32 [batch, 2] in [0, 1), where Cutout's centre goes: column and row.
        parameters: The table.
        fill: Colour outside of a warped image.
        box_fill: Colour of Cutout.
    """
    names = parameters.names
    _, height, width, _ = images.shape
    row = ops.take(ops.convert_to_tensor(parameters.rows, "int32"), rows, axis=0)
    if names.intersection(GEOMETRIC):
        images = kernels.warp(images, row[:, :6], fill)
    if names.intersection(PER_CHANNEL):
        images = kernels.look_up(images, _tables(images, row, parameters))
    if names.intersection(BLENDING):
        factor, kind = row[:, 8, None, None, None], row[:, 9, None, None, None]
        if "Color" in names:
            blended = kernels.blend(images, kernels.grey(images), factor)
            images = ops.where(ops.equal(kind, COLOR), blended, images)
        if "Sharpness" in names:

            def sharpen(images, factor):
                return kernels.blend(images, kernels.smooth(images), factor)

            needed = ops.equal(row[:, 9], SHARPNESS)
            images = kernels.where_needed(needed, sharpen, (images, factor), images)
    if "Cutout" in names:
        scale = ops.convert_to_tensor([width * 65536.0, height * 65536.0])
        first = ops.cast(corner * scale, "int32") - row[:, 11:12]
        first = ops.right_shift(ops.maximum(first, 0), 16)
        last = first + row[:, 10:11] + 1  # Pillow's rectangles include their last row and column
        inside = box(first[:, 1:], last[:, 1:], first[:, :1], last[:, :1], height, width)
        images = kernels.fill_box(images, inside, box_fill)
    return images


def _tables(images, row, parameters):
    """Each image's look-up table: int32 [batch, 3, 256]."""
    names = parameters.names
    kind = row[:, 7]
    tables = ops.take(ops.convert_to_tensor(parameters.look_ups, "int32"), row[:, 6], axis=0)
    if "Contrast" in names:
        values = ops.arange(256, dtype="int32")
        contrast = kernels.blend(values, kernels.mean_grey(images), row[:, 8:9])
        tables = ops.where(ops.equal(kind, CONTRAST)[:, None], contrast, tables)
    tables = tables[:, None, :] + ops.zeros((1, 3, 1), "int32")
    if "AutoContrast" in names:
        tables = ops.where(ops.equal(kind, AUTOCONTRAST)[:, None, None], kernels.stretching(images), tables)
    if "Equalize" in names:
        tables = kernels.where_needed(ops.equal(kind, EQUALIZE), kernels.equalizing, (images,), tables)
    return tables
