"""The operations of augmentation policies, and their parameters for the kernels.

Names and meaning are those of AutoAugment (https://arxiv.org/abs/1805.09501, Table 6); the unit of a value depends on
the operation. The host turns a policy into one table of integers; the compiled step picks a row per image and runs the
kernels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from keras import ops

from cifarzoo.augment import kernels
from cifarzoo.augment.policy_lists import GEOMETRIC, PER_CHANNEL
from cifarzoo.augment.standard import box
from cifarzoo.errors import ExperimentError

# The kinds of work on an image.
NOTHING, WARP, FIXED_TABLE, CONTRAST, AUTOCONTRAST, EQUALIZE, COLOR, SHARPNESS, CUTOUT = range(9)
KINDS = {
    "Identity": NOTHING,
    **dict.fromkeys(GEOMETRIC, WARP),
    **dict.fromkeys(PER_CHANNEL, FIXED_TABLE),
    "Contrast": CONTRAST,
    "AutoContrast": AUTOCONTRAST,
    "Equalize": EQUALIZE,
    "Color": COLOR,
    "Sharpness": SHARPNESS,
    "Cutout": CUTOUT,
}


class Operation(NamedTuple):
    """One operation of a policy.

    Attributes:
        name: One of `OPERATIONS`, or "Identity".
        probability: The probability that it is applied.
        value: A slope (shear), pixels (translation, side of Cutout), degrees (rotation), the threshold (solarize), bits
            to keep (posterize), or a factor where 1 changes nothing (contrast, color, brightness, sharpness).
    """

    name: str
    probability: float
    value: float


@dataclass(frozen=True)
class Table:
    """Kernel parameters of many operations, for images of one size.

    Attributes:
        kinds: The kinds of work that occur; other kernels are left out.
        probabilities: float32 [operations].
        rows: int32 [2 * operations + 1, 11]: for each operation its row and that of its mirrored form (the same if it
            has none); the last row changes nothing. Columns: six of the matrix times 65536, the kind, the number of the
            look-up table, the factor times 2^20, the side of the box in whole pixels, and half the side times 65536.
        look_ups: int32 [tables, 256].
    """

    kinds: frozenset[int]
    probabilities: np.ndarray
    rows: np.ndarray
    look_ups: np.ndarray


def table(operations: Sequence[Operation], height: int, width: int) -> Table:
    """Return the kernel parameters of operations on images of this size.

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
        frozenset(KINDS[operation.name] for operation in operations),
        np.array([operation.probability for operation in operations], "float32"),
        np.array(rows, "int32"),
        np.array(list(look_ups), "int32"),
    )


def _row(name, value, height, width, look_ups):
    matrix = _matrix(name, value, height, width)
    entries = tuple(_fixed_table(name, value))
    factor = round(value * (1 << kernels.FACTOR_BITS)) if name in ("Contrast", "Color", "Sharpness") else 0
    cut = name == "Cutout" and value > 0
    kind = NOTHING if name == "Cutout" and not cut else KINDS[name]
    box_parameters = (math.floor(value), round(value * (1 << 15))) if cut else (0, 0)
    return [*matrix, kind, look_ups.setdefault(entries, len(look_ups)), factor, *box_parameters]


def _matrix(name, value, height, width):
    """Return the matrix from target to source pixels, in 16.16 fixed point with Pillow's rounding."""
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
    """Return the look-up table of an operation whose table does not depend on the image."""
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
    """Apply to each image the operation of its row; each kernel only sees the images that need it.

    Args:
        images: uint8 [batch, height, width, 3].
        rows: int32 [batch], indices of rows of the table.
        corner: float32 [batch, 2] in [0, 1), the relative position of Cutout's center: column and row.
        parameters: The table.
        fill: Color of pixels from outside a warped image.
        box_fill: Color of Cutout.
    """
    row = ops.take(ops.convert_to_tensor(parameters.rows, "int32"), rows, axis=0)
    look_ups = ops.convert_to_tensor(parameters.look_ups, "int32")

    def warp(x, row):
        return kernels.warp(x, row[:, :6], fill)

    def look_up(x, row):
        return kernels.look_up(x, _light_tables(x, row, look_ups, parameters.kinds))

    def equalize(x):
        return kernels.look_up(x, kernels.equalizing(x))

    def color(x, row):
        return kernels.blend(x, kernels.gray(x), row[:, 8, None, None, None])

    def sharpen(x, row):
        return kernels.blend(x, kernels.smooth(x), row[:, 8, None, None, None])

    def cut(x, row, corner):
        return kernels.fill_box(x, _box(row, corner, *x.shape[1:3]), box_fill)

    work = [
        (warp, {WARP}, (row,)),
        (look_up, {FIXED_TABLE, CONTRAST, AUTOCONTRAST}, (row,)),
        (equalize, {EQUALIZE}, ()),
        (color, {COLOR}, (row,)),
        (sharpen, {SHARPNESS}, (row,)),
        (cut, {CUTOUT}, (row, corner)),
    ]
    for function, kinds, arguments in work:
        if parameters.kinds & kinds:
            needed = ops.logical_and(row[:, 6] >= min(kinds), row[:, 6] <= max(kinds))
            images = kernels.where_needed(needed, function, images, arguments)
    return images


def _light_tables(images, row, look_ups, kinds):
    """Return each image's look-up table, except for equalization: int32 [batch, 3, 256]."""
    kind = row[:, 6, None]
    tables = ops.take(look_ups, row[:, 7], axis=0)
    if CONTRAST in kinds:
        values = ops.arange(256, dtype="int32")
        contrast = kernels.blend(values, kernels.mean_gray(images), row[:, 8, None])
        tables = ops.where(ops.equal(kind, CONTRAST), contrast, tables)
    tables = ops.broadcast_to(tables[:, None], (ops.shape(tables)[0], 3, 256))
    if AUTOCONTRAST in kinds:
        tables = ops.where(ops.equal(kind[:, None], AUTOCONTRAST), kernels.stretching(images), tables)
    return tables


def _box(row, corner, height, width):
    """Mark the pixels of Cutout's box: bool [batch, height, width, 1]."""
    scale = ops.convert_to_tensor([width * 65536.0, height * 65536.0])
    first = ops.cast(corner * scale, "int32") - row[:, 10:11]
    first = ops.right_shift(ops.maximum(first, 0), 16)
    last = first + row[:, 9:10] + 1  # Pillow's rectangles include their last row and column
    return box(first[:, 1:], last[:, 1:], first[:, :1], last[:, :1], height, width)
