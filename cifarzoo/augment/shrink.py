"""Smaller images, for progressive resizing."""

import functools

import numpy as np
from keras import ops


def shrink(images, size: int):
    """Images of `size` x `size`, each pixel a mean of those around its place, weighted by a triangle.

    Args:
        images: Float tensor [batch, height, width, channels], height and width equal.
        size: Height and width of the result; at that of the images they come back as they are.

    Returns:
        Tensor [batch, size, size, channels] of the same dtype: what Pillow's BILINEAR reduction
        gives, not rounded; on accelerators as exact as their multiplication of matrices.
    """
    before, channels = images.shape[1], images.shape[3]
    if size == before:
        return images
    matrix = ops.convert_to_tensor(_triangles(before, size), dtype=images.dtype)
    rows = ops.matmul(matrix, ops.reshape(images, [-1, before, before * channels]))
    columns = ops.matmul(matrix, ops.reshape(rows, [-1, before, channels]))
    return ops.reshape(columns, [-1, size, size, channels])


@functools.cache
def _triangles(before, after):
    """The weights of the `before` pixels of a line in each of its `after` new ones, [after, before]."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    distance = np.abs(np.arange(before) + 0.5 - centres[:, None]) / scale
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(1, keepdims=True)
