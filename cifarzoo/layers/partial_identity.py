"""An initializer that lets a convolution start as the identity."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("cifarzoo")
class PartialIdentity(keras.initializers.Initializer):
    """Initialize a kernel of odd size so that its first output channels copy the input channels.

    The remaining output channels get PyTorch's default, uniform in ± 1 / sqrt(fan-in).
    """

    def __init__(self):
        self.uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")

    def __call__(self, shape, dtype=None):
        """Return a kernel [height, width, input channels, output channels]."""
        height, width, channels, filters = shape
        drawn = self.uniform(shape, dtype)
        copied = min(channels, filters)
        identity = np.zeros((height, width, channels, copied))
        identity[height // 2, width // 2, range(copied), range(copied)] = 1
        return ops.concatenate([ops.cast(identity, drawn.dtype), drawn[..., copied:]], axis=-1)
