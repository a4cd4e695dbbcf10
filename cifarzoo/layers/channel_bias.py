"""A bias as a layer of its own."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("cifarzoo")
class ChannelBias(keras.layers.Layer):
    """Add a learned number to every channel: the bias of a layer whose other weights are frozen.

    Call arguments:
        inputs: A tensor, [batch, ..., channels].
    """

    def build(self, input_shape):
        """Create the bias, zeros [channels]."""
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, inputs):
        """Return the sum, in the shape and dtype of the inputs."""
        return inputs + ops.cast(self.bias, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape
