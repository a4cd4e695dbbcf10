"""The four kernels that the policies' fifteen operations come down to, each image with parameters of its own.

Everything is 32-bit integer arithmetic on pixels 0-255, [batch, height, width, 3], so that results are equal to the
bit on every backend and device; where Pillow computes in floating point, fixed point stands in for it.
"""

import numpy as np
from keras import ops

from cifarzoo.hardware import accelerator_name

MAX_PIXELS = 64 * 64
RECIPROCAL_BITS = 17

FACTOR_BITS = 20
# Fixed point may fall short of an exact integer by 255 / 2^21 grey levels, and truncation would make it a whole one.
NUDGE = 1 << 8


def warp(images, matrix, fill):
    """Affine warp, nearest neighbour, as `PIL.Image.transform` does: in 16.16 fixed point.

    Args:
        images: int32 [batch, height, width, 3].
        matrix: int32 [batch, 6], times 65536: the source of pixel (x, y) is (m0 x + m1 y + m2, m3 x + m4 y + m5).
        fill: The colour of pixels whose source lies outside.
    """
    _, height, width, channels = images.shape
    m = matrix[:, :, None, None]
    x, y = ops.arange(width, dtype="int32")[None, None, :], ops.arange(height, dtype="int32")[None, :, None]
    column = ops.right_shift(m[:, 0] * x + m[:, 1] * y + m[:, 2], 16)
    row = ops.right_shift(m[:, 3] * x + m[:, 4] * y + m[:, 5], 16)
    inside = ops.logical_and(ops.logical_and(column >= 0, column < width), ops.logical_and(row >= 0, row < height))
    first = ops.expand_dims(ops.arange(ops.shape(images)[0], dtype="int32"), (1, 2)) * (height * width)
    source = ops.where(inside, first + row * width + column, 0)
    moved = ops.take(ops.reshape(images, (-1, channels)), source, axis=0)
    return ops.where(inside[..., None], moved, ops.convert_to_tensor(fill, "int32"))


def look_up(images, tables):
    """Replace every value by its entry in the image's table of its channel.

    Args:
        images: int32 [batch, height, width, 3].
        tables: int32 [batch, 3, 256].
    """
    batch, channels = ops.shape(images)[0], images.shape[-1]
    first = ops.reshape(ops.arange(batch * channels, dtype="int32"), (-1, 1, 1, channels)) * 256
    return ops.take(ops.reshape(tables, (-1,)), first + images, axis=0)


def blend(images, degenerate, factor):
    """`degenerate + factor * (images - degenerate)`, truncated and clipped as `PIL.Image.blend` does.

    Args:
        images: int32 of any shape.
        degenerate: int32 that broadcasts against it.
        factor: int32 that broadcasts against it, times 2^20; at most 7.
    """
    mixed = ops.left_shift(degenerate, FACTOR_BITS) + factor * (images - degenerate) + NUDGE
    return ops.clip(ops.right_shift(mixed, FACTOR_BITS), 0, 255)


def fill_box(images, inside, fill):
    """Overwrite the pixels `inside`, bool [batch, height, width, 1], with a colour."""
    return ops.where(inside, ops.convert_to_tensor(fill, "int32"), images)


def where_needed(needed, kernel, images, arguments=()):
    """Images that need a kernel with it applied, the others as they are.

    An eighth of the batch at a time, those that need it first, until none is left: the cost follows their number. Not
    so on accelerators, where all are changed at once: a loop of unknown length waits for the host there.

    Args:
        needed: bool [batch].
        kernel: A function of int32 images and of `arguments` that treats each image on its own.
        images: uint8 [batch, height, width, 3].
        arguments: Tensors [batch, ...].
    """
    batch = images.shape[0]
    # A size that is only known at run time cannot be cut into pieces of a fixed one.
    if batch is None or accelerator_name() is not None:
        after = ops.cast(kernel(ops.cast(images, "int32"), *arguments), "uint8")
        return ops.where(needed[:, None, None, None], after, images)
    chunk = min(batch, max(8, batch // 8))
    order = ops.cast(ops.argsort(ops.where(needed, 0, 1)), "int32")
    count = ops.sum(ops.cast(needed, "int32"))

    def some(start, images):
        first = ops.minimum(start, batch - chunk)
        place = ops.slice(order, (first,), (chunk,))
        before = ops.take(images, place, axis=0)
        after = kernel(ops.cast(before, "int32"), *(ops.take(argument, place, axis=0) for argument in arguments))
        # The last piece begins earlier where the pieces do not fill the batch; what came before is done.
        fresh = first + ops.arange(chunk, dtype="int32") >= start
        chosen = ops.logical_and(ops.take(needed, place), fresh)[:, None, None, None]
        after = ops.where(chosen, ops.cast(after, "uint8"), before)
        return start + chunk, ops.scatter_update(images, place[:, None], after)

    return ops.while_loop(lambda start, _: start < count, some, (ops.zeros((), "int32"), images))[1]


def grey(images):
    """`PIL.Image.convert("L")`: int32 [batch, height, width, 1]."""
    red, green, blue = images[..., 0:1], images[..., 1:2], images[..., 2:3]
    return ops.right_shift(red * 19595 + green * 38470 + blue * 7471 + 0x8000, 16)


def mean_grey(images):
    """The mean of `grey`, rounded half up: int32 [batch, 1]."""
    count = images.shape[1] * images.shape[2]
    return (2 * ops.sum(grey(images), axis=(1, 2)) + count) // (2 * count)


def smooth(images):
    """`PIL.ImageFilter.SMOOTH`: a 3x3 mean whose centre counts five times; the border stays."""
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * images[:, 1:-1, 1:-1]
    inner = ops.right_shift((2 * total + 13) * 20165, 19)  # // 26, for these values
    inner = ops.concatenate([images[:, 1:-1, :1], inner, images[:, 1:-1, -1:]], axis=2)
    return ops.concatenate([images[:, :1], inner, images[:, -1:]], axis=1)


def histogram(images):
    """How often each value occurs in each channel: int32 [batch, 3, 256]."""
    batch, channels = ops.shape(images)[0], images.shape[-1]
    first = ops.reshape(ops.arange(batch * channels, dtype="int32"), (-1, 1, 1, channels)) * 256
    bins = ops.reshape(first + images, (-1,))
    counts = ops.segment_sum(ops.ones_like(bins), bins, num_segments=batch * channels * 256)
    return ops.reshape(counts, (-1, channels, 256))


def equalizing(images):
    """The tables of `PIL.ImageOps.equalize`: int32 [batch, 3, 256]."""
    values = ops.arange(256, dtype="int32")
    counts = histogram(images)
    highest = ops.max(images, axis=(1, 2))[:, :, None]
    last = ops.sum(ops.where(ops.equal(values, highest), counts, 0), axis=-1, keepdims=True)
    step = (images.shape[1] * images.shape[2] - last) // 255
    below = ops.cumsum(counts, axis=-1) - counts
    flat = ops.minimum(_scale(below + ops.right_shift(step, 1), 1, step, MAX_PIXELS // 255), 255)
    return ops.where(step > 0, flat, values)


def stretching(images):
    """The tables of `PIL.ImageOps.autocontrast`: int32 [batch, 3, 256]."""
    values = ops.arange(256, dtype="int32")
    low, high = ops.min(images, axis=(1, 2))[:, :, None], ops.max(images, axis=(1, 2))[:, :, None]
    span = high - low
    stretched = ops.clip(_scale(values - low, 255, span, 255), 0, 255)
    return ops.where(span > 0, stretched, values)


def _scale(number, numerator, denominator, largest):
    """`number * numerator // denominator` for denominators 1, 2, ..., `largest`; 0 for the denominator 0.

    A multiplication by a reciprocal, because a compiler may well move the division into the loop over pixels. Exact
    while number * denominator < 2^17 and the quotient < 2^14.
    """
    denominators = np.arange(1, largest + 1)
    reciprocals = np.concatenate([[0], -(-(numerator << RECIPROCAL_BITS) // denominators)])
    factor = ops.take(ops.convert_to_tensor(reciprocals, "int32"), denominator)
    return ops.right_shift(number * factor, RECIPROCAL_BITS)
