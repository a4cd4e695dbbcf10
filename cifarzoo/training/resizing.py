"""Progressive resizing: smaller images in the early part of a training, at a fraction of the arithmetic.

Howard's entry to DAWNBench, 2018 (https://www.fast.ai/posts/2018-04-30-dawnbench-fastai.html), made it known; Karras et
al., https://arxiv.org/abs/1710.10196, grow images likewise. A convolutional network that ends in global pooling takes
images of any size.
"""

import functools

import numpy as np
from keras import ops
from pydantic import Field

from cifarzoo.training.schedules import Length, Strict

FULL_SIZE = 32


class ResizingStage(Strict):
    """Images of `size` x `size` until `until`: an entry of `progressive_resizing`."""

    size: int = Field(ge=8, lt=FULL_SIZE)
    until: Length


class ImageSizes:
    """The size of the training images at every step.

    Args:
        stages: `ResizingStage`s; after the last, images have their full size.
        lengths: A function from a `Duration` to steps.

    Raises:
        ValueError: a stage does not end after the one before it.
    """

    def __init__(self, stages, lengths):
        self._sizes = [stage.size for stage in stages]
        self._ends = [lengths(stage.until) for stage in stages]
        if any(end <= start for start, end in zip([0, *self._ends], self._ends, strict=False)):
            raise ValueError(f"stages must end one after another, got the ends {self._ends} in steps")

    @property
    def end(self) -> int:
        """The first step from which on images have their full size."""
        return self._ends[-1] if self._ends else 0

    def at(self, step: int) -> int:
        """Height and width of the images of a step."""
        return next((size for size, end in zip(self._sizes, self._ends, strict=True) if step < end), FULL_SIZE)

    def next_change(self, step: int) -> int | None:
        """The first step after `step` at which the size changes, None if there is none."""
        return next((end for end in self._ends if step < end), None)

    def relative_area(self, first: int, last: int) -> float:
        """The mean area of the images of the steps from `first` up to but not including `last`; a full image has 1."""
        edges = [first, *(end for end in self._ends if first < end < last), last]
        areas = [(b - a) * (self.at(a) / FULL_SIZE) ** 2 for a, b in zip(edges, edges[1:], strict=False)]
        return sum(areas) / max(last - first, 1)


def shrink(images, size: int):
    """Images of `size` x `size`, each pixel a mean of those around its place, weighted by a triangle.

    Args:
        images: Float tensor [batch, height, width, channels], height and width equal.
        size: Height and width of the result; at that of the images they come back as they are.

    Returns:
        Tensor [batch, size, size, channels] of the same dtype: what Pillow's BILINEAR reduction gives, not rounded.
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
