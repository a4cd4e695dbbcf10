"""GroupNormalization with fewer passes over the features, on TensorFlow and JAX.

Keras reshapes the features to five dimensions and reduces over three of them at once, which neither backend does fast
on processors. Here each channel of each image gets its mean and variance first, and the small arrays of these are
combined to those of groups; the gradient is the closed formula. The models stay plain Keras.
"""

import contextlib

import keras
from keras import ops

from cifarzoo.keras_internals.support import internal, parameters


@internal("fast GroupNormalization", without="networks with GroupNormalization train more slowly")
def supported() -> bool:
    """Whether GroupNormalization takes the arguments that it is called with here."""
    return parameters(keras.layers.GroupNormalization.call) == ["self", "inputs"]


def _group_means(values, groups):
    """Return the means over the channels of each group, in the place of every channel; values are [batch, channels]."""
    channels = values.shape[-1]
    means = ops.mean(ops.reshape(values, (-1, groups, channels // groups)), -1, keepdims=True)
    return ops.reshape(means * ops.ones((1, 1, channels // groups), means.dtype), (-1, channels))


def _per_pixel(values):
    """Return [batch, channels] as [batch, 1, 1, channels]."""
    return values[:, None, None, :]


def group_normalization(x, gamma, beta, groups, epsilon):
    """Normalize features by groups of channels of each image.

    Args:
        x: Float [batch, height, width, channels].
        gamma: [channels], at least float32.
        beta: [channels], the same.
        groups: Number of groups.
        epsilon: Added to the variances.

    Returns:
        As `x`. Statistics and sums are in the precision of `gamma`.
    """
    wide, narrow = gamma.dtype, x.dtype
    pixels = x.shape[1] * x.shape[2]

    @ops.custom_gradient
    def normalize(x, gamma, beta):
        features = ops.cast(x, wide)
        means = ops.mean(features, (1, 2))
        # Two rounds, because E[x^2] - E[x]^2 loses digits where the mean is large.
        variances = ops.mean(ops.square(features - _per_pixel(means)), (1, 2))
        mean = _group_means(means, groups)
        variance = _group_means(variances + ops.square(means - mean), groups)
        inverse = ops.rsqrt(variance + epsilon)
        scale = inverse * gamma
        y = features * _per_pixel(scale) + _per_pixel(beta - mean * scale)

        def gradient(upstream):
            # With xhat = (x - mean) / deviation and g the gradient by xhat, the gradient by x is
            # (g - E[g] - xhat E[g xhat]) / deviation, means taken over the group.
            upstream = ops.cast(upstream, wide)
            features = ops.cast(x, wide)
            by_beta = ops.mean(upstream, (1, 2))
            by_gamma = (ops.mean(upstream * features, (1, 2)) - mean * by_beta) * inverse
            constant = _group_means(gamma * by_beta, groups)
            slope = _group_means(gamma * by_gamma, groups) * inverse**2
            by_x = upstream * _per_pixel(scale) - features * _per_pixel(slope)
            by_x = by_x + _per_pixel(slope * mean - inverse * constant)
            return ops.cast(by_x, narrow), ops.sum(by_gamma, 0) * pixels, ops.sum(by_beta, 0) * pixels

        return ops.cast(y, narrow), gradient

    return normalize(x, gamma, beta)


def _takes(layer, x):
    """Whether the formula above is what the layer computes."""
    return (
        len(x.shape) == 4
        and layer.axis in (3, -1)
        and layer.scale
        and layer.center
        and isinstance(x.shape[1], int)
        and isinstance(x.shape[2], int)
        and keras.backend.standardize_dtype(x.dtype) in ("bfloat16", "float16", "float32", "float64")
    )


@contextlib.contextmanager
def fast_group_normalization():
    """Make every GroupNormalization that is traced in the context compute as described above."""
    if not supported.or_warn():
        yield
        return
    original = keras.layers.GroupNormalization.call

    def call(self, inputs):
        if not _takes(self, inputs):
            return original(self, inputs)
        wide = keras.backend.result_type(inputs.dtype, "float32")
        gamma, beta = (ops.cast(variable, wide) for variable in (self.gamma, self.beta))
        y = group_normalization(inputs, gamma, beta, self.groups, self.epsilon)
        return ops.cast(y, self.compute_dtype)

    keras.layers.GroupNormalization.call = call
    try:
        yield
    finally:
        keras.layers.GroupNormalization.call = original
