"""The four kernels behind the fifteen operations of policies; each image has its own parameters.

All arithmetic is in 32-bit integers, on pixels 0-255 of shape [batch, height, width, 3], so that results are equal to
the bit on every backend and device. Where Pillow computes in floating point, the kernels use fixed point.
"""

import numpy as np
from keras import ops

from cifarzoo.hardware import accelerator_name

MAX_PIXELS = 64 * 64
RECIPROCAL_BITS = 17

FACTOR_BITS = 20
# Fixed point may fall short of an exact integer by 255 / 2^21 gray levels; truncation would make that a whole level.
NUDGE = 1 << 8


def warp(images, matrix, fill):
    """Warp affinely with nearest neighbors in 16.16 fixed point, as `PIL.Image.transform` does.

    Args:
        images: int32 [batch, height, width, 3].
        matrix: int32 [batch, 6], multiplied by 65536: pixel (x, y) comes from (m0 x + m1 y + m2, m3 x + m4 y + m5).
        fill: The color of pixels whose source lies outside the image.
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
    """Replace each value by its entry in the table of the image and channel.

    Args:
        images: int32 [batch, height, width, 3].
        tables: int32 [batch, 3, 256].
    """
    batch, channels = ops.shape(images)[0], images.shape[-1]
    first = ops.reshape(ops.arange(batch * channels, dtype="int32"), (-1, 1, 1, channels)) * 256
    return ops.take(ops.reshape(tables, (-1,)), first + images, axis=0)


def blend(images, degenerate, factor):
    """Compute `degenerate + factor * (images - degenerate)`, truncated and clipped as in `PIL.Image.blend`.

    Args:
        images: int32 of any shape.
        degenerate: int32, broadcast against the images.
        factor: int32, broadcast against the images: at most 7, multiplied by 2^20.
    """
    mixed = ops.left_shift(degenerate, FACTOR_BITS) + factor * (images - degenerate) + NUDGE
    return ops.clip(ops.right_shift(mixed, FACTOR_BITS), 0, 255)


def fill_box(images, inside, fill):
    """Overwrite the pixels where `inside`, bool [batch, height, width, 1], is true."""
    return ops.where(inside, ops.convert_to_tensor(fill, "int32"), images)


def where_needed(needed, kernel, images, arguments=()):
    """Apply a kernel to the images that need it, and return the others unchanged.

    On processors it takes an eighth of the batch at a time, images that need it first, until none is left, so that the
    cost follows their number. On accelerators it computes all images at once, because a loop of unknown length would
    wait for the host.

    Args:
        needed: bool [batch].
        kernel: A function of int32 images and `arguments` that treats each image independently.
        images: uint8 [batch, height, width, 3].
        arguments: Tensors [batch, ...].
    """
    batch = images.shape[0]
    # A batch size that is only known at run time cannot be cut into pieces of fixed size.
    if batch is None or accelerator_name() is not None:
        after = ops.cast(kernel(ops.cast(images, "int32"), *arguments), "uint8")
        return ops.where(needed[:, None, None, None], after, images)
    chunk = min(batch, max(8, batch // 8))
    order = ops.cast(ops.argsort(ops.where(needed, 0, 1)), "int32")
    count = ops.sum(ops.cast(needed, "int32"))

    def some(start, images):
        first = ops.minimum(start, batch - chunk)
        indices = ops.slice(order, (first,), (chunk,))
        before = ops.take(images, indices, axis=0)
        after = kernel(ops.cast(before, "int32"), *(ops.take(argument, indices, axis=0) for argument in arguments))
        # If the pieces do not fill the batch, the last one starts earlier and skips the images that are done already.
        fresh = first + ops.arange(chunk, dtype="int32") >= start
        chosen = ops.logical_and(ops.take(needed, indices), fresh)[:, None, None, None]
        after = ops.where(chosen, ops.cast(after, "uint8"), before)
        return start + chunk, ops.scatter_update(images, indices[:, None], after)

    return ops.while_loop(lambda start, _: start < count, some, (ops.zeros((), "int32"), images))[1]


def gray(images):
    """Convert to gray as `PIL.Image.convert("L")` does: int32 [batch, height, width, 1]."""
    red, green, blue = images[..., 0:1], images[..., 1:2], images[..., 2:3]
    return ops.right_shift(red * 19595 + green * 38470 + blue * 7471 + 0x8000, 16)


def mean_gray(images):
    """Return the mean of `gray`, rounded half up: int32 [batch, 1]."""
    count = images.shape[1] * images.shape[2]
    return (2 * ops.sum(gray(images), axis=(1, 2)) + count) // (2 * count)


def smooth(images):
    """Smooth as `PIL.ImageFilter.SMOOTH` does: a 3x3 mean with weight 5 at the center; the border is unchanged."""
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * images[:, 1:-1, 1:-1]
    inner = ops.right_shift((2 * total + 13) * 20165, 19)  # // 26, for these values
    inner = ops.concatenate([images[:, 1:-1, :1], inner, images[:, 1:-1, -1:]], axis=2)
    return ops.concatenate([images[:, :1], inner, images[:, -1:]], axis=1)


def histogram(images):
    """Count each value in each channel: int32 [batch, 3, 256]."""
    batch, channels = ops.shape(images)[0], images.shape[-1]
    first = ops.reshape(ops.arange(batch * channels, dtype="int32"), (-1, 1, 1, channels)) * 256
    bins = ops.reshape(first + images, (-1,))
    counts = ops.segment_sum(ops.ones_like(bins), bins, num_segments=batch * channels * 256)
    return ops.reshape(counts, (-1, channels, 256))


def equalizing(images):
    """Return the look-up tables of `PIL.ImageOps.equalize`: int32 [batch, 3, 256]."""
    values = ops.arange(256, dtype="int32")
    counts = histogram(images)
    highest = ops.max(images, axis=(1, 2))[:, :, None]
    last = ops.sum(ops.where(ops.equal(values, highest), counts, 0), axis=-1, keepdims=True)
    step = (images.shape[1] * images.shape[2] - last) // 255
    below = ops.cumsum(counts, axis=-1) - counts
    flat = ops.minimum(_scale(below + ops.right_shift(step, 1), 1, step, MAX_PIXELS // 255), 255)
    return ops.where(step > 0, flat, values)


def stretching(images):
    """Return the look-up tables of `PIL.ImageOps.autocontrast`: int32 [batch, 3, 256]."""
    values = ops.arange(256, dtype="int32")
    low, high = ops.min(images, axis=(1, 2))[:, :, None], ops.max(images, axis=(1, 2))[:, :, None]
    span = high - low
    stretched = ops.clip(_scale(values - low, 255, span, 255), 0, 255)
    return ops.where(span > 0, stretched, values)


def _scale(number, numerator, denominator, largest):
    """Return `number * numerator // denominator` for denominators 1, 2, ..., `largest`; 0 for the denominator 0.

    It multiplies by a reciprocal, because a compiler may move a division into the loop over pixels. The result is
    exact while number * denominator < 2^17 and the quotient < 2^14.
    """
    denominators = np.arange(1, largest + 1)
    reciprocals = np.concatenate([[0], -(-(numerator << RECIPROCAL_BITS) // denominators)])
    factor = ops.take(ops.convert_to_tensor(reciprocals, "int32"), denominator)
    return ops.right_shift(number * factor, RECIPROCAL_BITS)
