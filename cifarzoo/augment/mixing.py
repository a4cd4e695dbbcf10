"""MixUp and CutMix: mix each image with another one of the batch, and their labels.

The partner of an image is its counterpart in the reversed batch instead of a random permutation: batches are shuffled
already. On TensorFlow a batch that is split over replicas is reversed in each part.
"""

from functools import lru_cache

import numpy as np
from keras import ops

from cifarzoo.augment import spec
from cifarzoo.augment.standard import box

ATOMS = 4096


@lru_cache
def beta_quantiles(alpha: float) -> np.ndarray:
    """Return the 4096 quantiles of Beta(alpha, alpha) at (i + 1/2) / 4096: float64 [4096].

    Picking one of them uniformly samples the distribution, except for steps of 1/4096 in probability. The look-up is
    equal on every backend; an incomplete beta function is not.
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
    """Return class numbers as one-hot rows, and rows unchanged: float32 [batch, classes]."""
    if len(labels.shape) == 1:
        return ops.one_hot(labels, classes, dtype="float32")
    return ops.cast(labels, "float32")


def mixup(parameters: spec.MixUp, images, labels, draws, dataset):
    """Mix a batch: images become float32, labels float32 [batch, classes]."""
    numbers = _numbers(parameters, draws)
    shares = beta_quantiles(parameters.alpha)
    shares = np.maximum(shares, 1.0 - shares) if parameters.fold else shares
    share = ops.take(ops.convert_to_tensor(shares, "float32"), _atom(numbers))
    share = ops.where(numbers[:, 0] < parameters.probability, share, 1.0)[:, None]
    x = ops.cast(images, "float32")
    mixed = share[:, :, None, None] * x + (1.0 - share[:, :, None, None]) * ops.flip(x, axis=0)
    return mixed, _mix_labels(labels, share, dataset.classes)


def cutmix(parameters: spec.CutMix, images, labels, draws, dataset):
    """Mix a batch: labels become float32 [batch, classes].

    The box has sides sqrt(1 - lambda) of the image's around a uniform center, clipped at the border; lambda is then
    recomputed from the clipped area, as in the paper.
    """
    _, height, width, _ = images.shape
    numbers = _numbers(parameters, draws)
    half_sides = np.sqrt(1.0 - beta_quantiles(parameters.alpha))[:, None] * [height, width] // 1 // 2
    half = ops.take(ops.convert_to_tensor(half_sides, "int32"), _atom(numbers), axis=0)
    half = ops.where(numbers[:, :1] < parameters.probability, half, 0)
    size = ops.convert_to_tensor([[height, width]], "int32")
    center = ops.cast(ops.floor(numbers[:, 2:] * ops.cast(size, "float32")), "int32")
    first, last = ops.maximum(center - half, 0), ops.minimum(center + half, size)
    inside = box(first[:, :1], last[:, :1], first[:, 1:], last[:, 1:], height, width)
    area = ops.cast((last[:, :1] - first[:, :1]) * (last[:, 1:] - first[:, 1:]), "float32")
    pasted = ops.where(inside, ops.flip(images, axis=0), images)
    return pasted, _mix_labels(labels, 1.0 - area * (1.0 / (height * width)), dataset.classes)


def _numbers(parameters, draws):
    """Draw whether to mix, lambda and a position: float32 [batch, 4], or [1, 4] for the whole batch."""
    return draws.uniform(4) if parameters.per == "image" else draws.shared(4)[None]


def _atom(numbers):
    """Return which of the quantiles is drawn, int32."""
    return ops.cast(ops.floor(numbers[:, 1] * ATOMS), "int32")


def _mix_labels(labels, share, classes):
    soft = soften(labels, classes)
    return share * soft + (1.0 - share) * ops.flip(soft, axis=0)
