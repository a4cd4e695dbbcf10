"""Random factors for the layers that draw while training."""

import keras
from keras import ops


def uniform(shape, low, high, seed_generator, dtype):
    """Draw uniform numbers in float32 (bfloat16 has only 128 values between 1 and 2) and cast them to `dtype`."""
    return ops.cast(keras.random.uniform(shape, low, high, dtype="float32", seed=seed_generator), dtype)


def factor_shape(x, per):
    """Return the shape of one factor per "image" or per "batch", which broadcasts against `x` [batch, ...]."""
    count = ops.shape(x)[0] if per == "image" else 1
    return (count,) + (1,) * (len(x.shape) - 1)
