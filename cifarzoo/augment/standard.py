"""The field's standard augmentation: padded random crop, horizontal flip, and Cutout."""

from typing import Literal

from keras import ops
from pydantic import Field

from cifarzoo.augment.base import Augmentation


class Crop(Augmentation):
    """Pad every side by `padding` pixels and crop the original size at a random place, an image at a time.

    He et al., https://arxiv.org/abs/1512.03385, section 4.2, pad with zeros (black); Wide ResNets reflect.
    """

    padding: int = Field(4, ge=0, le=16)
    mode: Literal["zero", "reflect"] = "zero"

    def __call__(self, images, labels, draws):
        """Crop a batch; each of the (2 * padding + 1)^2 places is equally likely."""
        _, height, width, channels = images.shape
        pad = self.padding
        padded = ops.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]], "constant" if self.mode == "zero" else "reflect")
        offsets = ops.cast(ops.floor(draws.uniform(2) * (2 * pad + 1)), "int32")
        rows = offsets[:, :1] + ops.arange(height, dtype="int32")
        columns = offsets[:, 1:] + ops.arange(width, dtype="int32")
        place = ops.expand_dims(ops.arange(ops.shape(images)[0], dtype="int32"), (1, 2)) * (height + 2 * pad)
        flat = (place + rows[:, :, None]) * (width + 2 * pad) + columns[:, None, :]
        return ops.take(ops.reshape(padded, (-1, channels)), flat, axis=0), labels


class Flip(Augmentation):
    """Mirror an image left to right with a probability."""

    probability: float = Field(0.5, ge=0, le=1)

    def __call__(self, images, labels, draws):
        """Flip a batch."""
        chosen = draws.uniform(1) < self.probability
        return ops.where(chosen[:, :, None, None], ops.flip(images, axis=2), images), labels


class Cutout(Augmentation):
    """Overwrite a square of `size` pixels around a random centre; the square may overhang the border.

    DeVries and Taylor, https://arxiv.org/abs/1708.04552. They fill with zero after normalisation, that is with the mean
    colour; `fill` is that colour on the scale 0-255, by default CIFAR-10's mean.
    """

    size: int = Field(16, ge=1, le=32)
    fill: tuple[int, int, int] = (125, 123, 114)

    def __call__(self, images, labels, draws):
        """Cut a batch."""
        _, height, width, _ = images.shape
        centre = ops.floor(draws.uniform(2) * ops.convert_to_tensor([float(height), float(width)]))
        first = ops.cast(centre, "int32") - self.size // 2
        rows = ops.arange(height, dtype="int32") - first[:, :1]
        columns = ops.arange(width, dtype="int32") - first[:, 1:]
        inside = ops.logical_and(rows >= 0, rows < self.size)[:, :, None, None]
        inside = ops.logical_and(inside, ops.logical_and(columns >= 0, columns < self.size)[:, None, :, None])
        return ops.where(inside, ops.cast(ops.convert_to_tensor(self.fill, "int32"), images.dtype), images), labels
