"""Progressive resizing: smaller images in the early part of a training, at a fraction of the arithmetic.

Howard's entry to DAWNBench, 2018 (https://www.fast.ai/posts/2018-04-30-dawnbench-fastai.html), made it known; Karras et
al., https://arxiv.org/abs/1710.10196, grow images likewise. A convolutional network that ends in global pooling takes
images of any size.
"""

from pydantic import Field

from cifarzoo.experiment.schedules import Length
from cifarzoo.strict_model import Strict

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
    """

    def __init__(self, stages, lengths):
        self._sizes = [stage.size for stage in stages]
        self._ends = [lengths(stage.until) for stage in stages]

    def check(self, total: int) -> None:
        """Raise ValueError unless the stages end one after another, and before a training of `total` steps does."""
        if any(end <= start for start, end in zip([0, *self._ends], self._ends, strict=False)):
            raise ValueError(f"stages must end one after another, got the ends {self._ends} in steps")
        if self._ends and self._ends[-1] >= total:
            raise ValueError(
                f"the last stage ends at step {self._ends[-1]}, the training at step {total}; the network must see "
                "images of full size, as those that it is evaluated on"
            )

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
