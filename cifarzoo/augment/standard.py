"""The field's standard augmentation: padded random crop, horizontal flip, and Cutout."""

from typing import Literal

from keras import ops
from pydantic import Field

from cifarzoo.augment.base import Augmentation, Colour


class Crop(Augmentation):
    """Pad every side by `padding` pixels and crop the original size at a random place, an image at a time.

    He et al., https://arxiv.org/abs/1512.03385, section 4.2, pad with zeros (black); Wide ResNets reflect.
    """

    padding: int = Field(4, ge=0, le=16)
    mode: Literal["zero", "reflect"] = "zero"

    @property
    def draws_per_image(self) -> int:
        """Row and column."""
        return 2

    def __call__(self, images, labels, draws):
        """Crop a batch; each of the (2 * padding + 1)^2 places is equally likely."""
        _, height, width, channels = images.shape
        pad = self.padding
        padded = ops.pad(
            images, [[0, 0], [pad, pad], [pad, pad], [0, 0]], "constant" if self.mode == "zero" else "reflect"
        )
        offsets = ops.cast(ops.floor(draws.uniform(2) * (2 * pad + 1)), "int32")
        rows = offsets[:, :1] + ops.arange(height, dtype="int32")
        columns = offsets[:, 1:] + ops.arange(width, dtype="int32")
        place = ops.expand_dims(ops.arange(ops.shape(images)[0], dtype="int32"), (1, 2)) * (height + 2 * pad)
        flat = (place + rows[:, :, None]) * (width + 2 * pad) + columns[:, None, :]
        return ops.take(ops.reshape(padded, (-1, channels)), flat, axis=0), labels


class Flip(Augmentation):
    """Mirror images left to right: each time with a probability, or every other epoch.

    `alternating` is Keller Jordan's derandomised flip (https://arxiv.org/abs/2404.00498): half of the images, chosen
    once, are mirrored in even epochs and the other half in odd ones, so two epochs in a row show both views.
    """

    probability: float = Field(0.5, ge=0, le=1)
    alternating: bool = False

    @property
    def draws_per_image(self) -> int:
        """Whether to flip; the alternating flip draws from the image's place in the data set instead."""
        return 0 if self.alternating else 1

    def __call__(self, images, labels, draws):
        """Flip a batch."""
        if self.alternating:
            odd = ops.equal(ops.bitwise_and(ops.cast(draws.epoch, "int32"), 1), 1)
            chosen = ops.not_equal(draws.lasting(1) < self.probability, odd)
        else:
            chosen = draws.uniform(1) < self.probability
        return ops.where(chosen[:, :, None, None], ops.flip(images, axis=2), images), labels


class Cutout(Augmentation):
    """Overwrite a square of `size` pixels around a random centre; the square may overhang the border.

    DeVries and Taylor, https://arxiv.org/abs/1708.04552. They fill with zero after normalisation, that is with the mean
    colour: `fill` is "mean" (of the data set that is trained on) or a colour on the scale 0-255.
    """

    size: int = Field(16, ge=1, le=32)
    fill: Colour = "mean"

    @property
    def draws_per_image(self) -> int:
        """Row and column of the centre."""
        return 2

    def __call__(self, images, labels, draws):
        """Cut a batch."""
        _, height, width, _ = images.shape
        centre = ops.floor(draws.uniform(2) * ops.convert_to_tensor([float(height), float(width)]))
        first = ops.cast(centre, "int32") - self.size // 2
        inside = box(first[:, :1], first[:, :1] + self.size, first[:, 1:], first[:, 1:] + self.size, height, width)
        return ops.where(
            inside, ops.cast(ops.convert_to_tensor(self.fill_colour, "int32"), images.dtype), images
        ), labels


def box(top, bottom, left, right, height, width):
    """Which pixels lie in rows [top, bottom) and columns [left, right), int32 [batch, 1]: bool [batch, h, w, 1]."""
    rows, columns = ops.arange(height, dtype="int32"), ops.arange(width, dtype="int32")
    down = ops.logical_and(rows >= top, rows < bottom)
    across = ops.logical_and(columns >= left, columns < right)
    return ops.logical_and(down[:, :, None, None], across[:, None, :, None])
