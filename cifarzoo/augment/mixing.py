"""Augmentations that mix an image with another of the batch, and their labels: MixUp and CutMix.

The partner of an image is the one at the same place of the reversed batch, instead of a random permutation: batches are
shuffled already. On TensorFlow a batch that is split over replicas is reversed in each part.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from keras import ops
from pydantic import Field, PrivateAttr

from cifarzoo.augment.base import Augmentation
from cifarzoo.augment.standard import box

ATOMS = 4096


@lru_cache
def beta_quantiles(alpha: float) -> np.ndarray:
    """The 4096 quantiles of Beta(alpha, alpha) at (i + 1/2) / 4096: float64 [4096].

    Drawing one of them, each as likely, is drawing from the distribution but for steps of 1/4096 in probability: a
    look-up that is equal on every backend, where an incomplete beta function is not.
    """
    # With x = 1 / (1 + exp(-z)) the density of z is proportional to (x (1 - x))^alpha: smooth, and decaying like
    # exp(-alpha |z|), so that the trapezoidal rule is accurate where the density of x has poles.
    z = np.linspace(-60.0 / alpha - 10.0, 0.0, 1 << 18)
    log_x = -np.logaddexp(0.0, -z)
    density = np.exp(alpha * (log_x - np.logaddexp(0.0, z) + 2 * np.log(2.0)))
    cumulative = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    below_half = (np.arange(ATOMS // 2) + 0.5) / ATOMS
    lower = np.exp(np.interp(below_half, 0.5 * cumulative / cumulative[-1], log_x))
    return np.concatenate([lower, 1.0 - lower[::-1]])


def soften(labels, classes):
    """Class numbers as one-hot rows; rows as they are: float32 [batch, classes]."""
    if len(labels.shape) == 1:
        return ops.one_hot(labels, classes, dtype="float32")
    return ops.cast(labels, "float32")


class Mix(Augmentation):
    """What MixUp and CutMix share.

    Attributes:
        alpha: Of the distribution Beta(alpha, alpha) that lambda, the share of the first image, is drawn from.
        probability: How often a batch (or an image, see `per`) is mixed at all.
        per: Whether one lambda is drawn for the batch, as in the papers' code, or one an image.
    """

    alpha: float = Field(1.0, gt=0, le=100)
    probability: float = Field(1.0, ge=0, le=1)
    per: Literal["batch", "image"] = "batch"
    _classes: int = PrivateAttr(10)  # columns of the mixed labels

    @property
    def draws_per_image(self) -> int:
        """Whether, lambda, and two for a place."""
        return 4 if self.per == "image" else 0

    @property
    def draws_per_batch(self) -> int:
        """The same for the whole batch."""
        return 4 if self.per == "batch" else 0

    def prepared(self, classes, fill):
        """With labels of so many classes."""
        other = self.model_copy()
        other._classes = classes
        return other

    def _numbers(self, draws):
        return draws.uniform(4) if self.per == "image" else draws.shared(4)[None]

    def _atom(self, numbers):
        return ops.cast(ops.floor(numbers[:, 1] * ATOMS), "int32")

    def _mix_labels(self, labels, share):
        soft = soften(labels, self._classes)
        return share * soft + (1.0 - share) * ops.flip(soft, axis=0)


class MixUp(Mix):
    """Convex combinations of two images and of their labels.

    Zhang et al., https://arxiv.org/abs/1710.09412. With `fold` the larger of lambda and 1 - lambda goes to the first
    image. Images become float32, labels float32 [batch, classes].
    """

    fold: bool = False

    def __call__(self, images, labels, draws):
        """Mix a batch."""
        numbers = self._numbers(draws)
        shares = beta_quantiles(self.alpha)
        shares = np.maximum(shares, 1.0 - shares) if self.fold else shares
        share = ops.take(ops.convert_to_tensor(shares, "float32"), self._atom(numbers))
        share = ops.where(numbers[:, 0] < self.probability, share, 1.0)[:, None]
        x = ops.cast(images, "float32")
        mixed = share[:, :, None, None] * x + (1.0 - share[:, :, None, None]) * ops.flip(x, axis=0)
        return mixed, self._mix_labels(labels, share)


class CutMix(Mix):
    """Paste a box of another image; labels mix by area.

    Yun et al., https://arxiv.org/abs/1905.04899: the box has sides sqrt(1 - lambda) of the image's around a uniform
    centre, clipped at the border, and lambda is then what the clipped area says. On CIFAR the paper's code mixes every
    other batch (`probability` 0.5). Labels become float32 [batch, classes].
    """

    probability: float = Field(0.5, ge=0, le=1)

    def __call__(self, images, labels, draws):
        """Mix a batch."""
        _, height, width, _ = images.shape
        numbers = self._numbers(draws)
        half_sides = np.sqrt(1.0 - beta_quantiles(self.alpha))[:, None] * [height, width] // 1 // 2
        half = ops.take(ops.convert_to_tensor(half_sides, "int32"), self._atom(numbers), axis=0)
        half = ops.where(numbers[:, :1] < self.probability, half, 0)
        size = ops.convert_to_tensor([[height, width]], "int32")
        centre = ops.cast(ops.floor(numbers[:, 2:] * ops.cast(size, "float32")), "int32")
        first, last = ops.maximum(centre - half, 0), ops.minimum(centre + half, size)
        inside = box(first[:, :1], last[:, :1], first[:, 1:], last[:, 1:], height, width)
        area = ops.cast((last[:, :1] - first[:, :1]) * (last[:, 1:] - first[:, 1:]), "float32")
        pasted = ops.where(inside, ops.flip(images, axis=0), images)
        return pasted, self._mix_labels(labels, 1.0 - area * (1.0 / (height * width)))
