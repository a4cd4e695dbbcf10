"""Reduce the size of images, for progressive resizing."""

import functools

import numpy as np
from keras import ops


def resize_down(images, size: int):
    """Reduce images to `size` x `size` with a triangle filter, as Pillow's BILINEAR reduction does, without rounding.

    On accelerators the result is as exact as their matrix multiplication.

    Args:
        images: Float tensor [batch, height, width, channels], with equal height and width.
        size: Height and width of the result, in pixels. Images of this size are returned unchanged.

    Returns:
        Tensor [batch, size, size, channels] of the same dtype.
    """
    full_size, channels = images.shape[1], images.shape[3]
    if size == full_size:
        return images
    matrix = ops.convert_to_tensor(_triangle_weights(full_size, size), dtype=images.dtype)
    rows = ops.matmul(matrix, ops.reshape(images, [-1, full_size, full_size * channels]))
    columns = ops.matmul(matrix, ops.reshape(rows, [-1, full_size, channels]))
    return ops.reshape(columns, [-1, size, size, channels])


@functools.cache
def _triangle_weights(full_size, size):
    """The weight of each of the `full_size` pixels of a line in each of its `size` reduced ones: [size, full_size]."""
    scale = full_size / size
    centers = (np.arange(size) + 0.5) * scale
    distance = np.abs(np.arange(full_size) + 0.5 - centers[:, None]) / scale
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(1, keepdims=True)
