"""Progressive resizing: train on smaller images first, which take a fraction of the arithmetic.

Howard's entry to DAWNBench, 2018 (https://www.fast.ai/posts/2018-04-30-dawnbench-fastai.html), made it popular; Karras
et al., https://arxiv.org/abs/1710.10196, grow images in the same way. A convolutional network that ends in global
pooling takes images of any size.
"""

import itertools
from collections.abc import Sequence

from pydantic import Field

from cifarzoo.experiment.schedules import Length, Lengths
from cifarzoo.strict_model import Strict, WholeNumber

FULL_SIZE = 32  # of the built-in data sets


class ResizingStage(Strict):
    """An entry of `progressive_resizing`: images of `size` x `size` pixels until `until`."""

    size: WholeNumber = Field(ge=8)
    until: Length


class ImageSizes:
    """The size of the training images at every step.

    Args:
        stages: The `ResizingStage`s; after the last one images have their full size.
        lengths: A function from a `Duration` to steps.
        full_size: Height and width of the data set's images.
    """

    def __init__(self, stages: Sequence[ResizingStage], lengths: Lengths, full_size: int = FULL_SIZE):
        self._full_size = full_size
        self._sizes = [stage.size for stage in stages]
        self._ends = [lengths(stage.until) for stage in stages]

    def check(self, total: int) -> None:
        """Raise ValueError unless the ends of the stages increase and come before step `total`, the end of training.

        Nor may a stage have images that are as large as the data set's.
        """
        if large := [size for size in self._sizes if size >= self._full_size]:
            raise ValueError(f"size {large[0]} must be less than {self._full_size}, the size of the data set's images")
        if any(end <= start for start, end in zip([0, *self._ends], self._ends, strict=False)):
            raise ValueError(f"the stages must end one after another, got ends at steps {self._ends}")
        if self._ends and self._ends[-1] >= total:
            raise ValueError(
                f"the last stage ends at step {self._ends[-1]}, but training ends at step {total}; the network must "
                "also be trained on full-size images, on which it is evaluated"
            )

    def at(self, step: int) -> int:
        """Return the height and width of the images at a step, in pixels."""
        return next((size for size, end in zip(self._sizes, self._ends, strict=True) if step < end), self._full_size)

    @property
    def full_size_start(self) -> int:
        """The first step with images of full size."""
        return self._ends[-1] if self._ends else 0

    def next_change(self, step: int) -> int | None:
        """Return the first step after `step` at which the size changes, or None."""
        return next((end for end in self._ends if step < end), None)

    def relative_area(self, first: int, last: int) -> float:
        """Return the mean area of the images of steps `first` to `last` (exclusive), as a fraction of the full area."""
        edges = [first, *(end for end in self._ends if first < end < last), last]
        areas = [(b - a) * (self.at(a) / self._full_size) ** 2 for a, b in itertools.pairwise(edges)]
        return sum(areas) / max(last - first, 1)
