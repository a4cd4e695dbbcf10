"""Kernels of the field's standard augmentation: padded random crop, horizontal flip, and Cutout."""

from keras import ops

from cifarzoo.augment import spec


def crop(parameters: spec.Crop, images, labels, draws, dataset):
    """Crop a batch; each of the (2 * padding + 1)^2 positions is equally likely."""
    _, height, width, channels = images.shape
    pad = parameters.padding
    padded = ops.pad(
        images, [[0, 0], [pad, pad], [pad, pad], [0, 0]], "constant" if parameters.mode == "zero" else "reflect"
    )
    offsets = ops.cast(ops.floor(draws.uniform(2) * (2 * pad + 1)), "int32")
    rows = offsets[:, :1] + ops.arange(height, dtype="int32")
    columns = offsets[:, 1:] + ops.arange(width, dtype="int32")
    image = ops.expand_dims(ops.arange(ops.shape(images)[0], dtype="int32"), (1, 2)) * (height + 2 * pad)
    pixels = (image + rows[:, :, None]) * (width + 2 * pad) + columns[:, None, :]
    return ops.take(ops.reshape(padded, (-1, channels)), pixels, axis=0), labels


def flip(parameters: spec.Flip, images, labels, draws, dataset):
    """Flip a batch."""
    if parameters.alternating:
        odd = ops.equal(ops.bitwise_and(ops.cast(draws.epoch, "int32"), 1), 1)
        chosen = ops.not_equal(draws.lasting(1) < parameters.probability, odd)
    else:
        chosen = draws.uniform(1) < parameters.probability
    return ops.where(chosen[:, :, None, None], ops.flip(images, axis=2), images), labels


def cutout(parameters: spec.Cutout, images, labels, draws, dataset):
    """Overwrite a square of each image."""
    _, height, width, _ = images.shape
    center = ops.floor(draws.uniform(2) * ops.convert_to_tensor([float(height), float(width)]))
    first = ops.cast(center, "int32") - parameters.size // 2
    last = first + parameters.size
    inside = box(first[:, :1], last[:, :1], first[:, 1:], last[:, 1:], height, width)
    fill = ops.convert_to_tensor(dataset.color(parameters.fill), "int32")
    return ops.where(inside, ops.cast(fill, images.dtype), images), labels


def box(top, bottom, left, right, height, width):
    """Mark the pixels in rows [top, bottom) and columns [left, right), int32 [batch, 1]: bool [batch, h, w, 1]."""
    rows, columns = ops.arange(height, dtype="int32"), ops.arange(width, dtype="int32")
    down = ops.logical_and(rows >= top, rows < bottom)
    across = ops.logical_and(columns >= left, columns < right)
    return ops.logical_and(down[:, :, None, None], across[:, None, :, None])
