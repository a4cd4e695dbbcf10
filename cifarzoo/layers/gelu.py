"""The Gaussian error linear unit, in operations that every export format has."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable("cifarzoo")
class Gelu(keras.layers.Layer):
    """Multiply each number x by the probability that a standard normal variable is below x.

    That is x (1 + erf(x / sqrt(2))) / 2 (Hendrycks, Gimpel: Gaussian Error Linear Units, https://arxiv.org/abs/1606.08415).
    On TensorFlow, Keras' "gelu" computes it with erfc, which ONNX does not have.

    Call arguments:
        inputs: A tensor of any shape.
    """

    def call(self, inputs):
        """Return the activations, in the shape and dtype of the inputs."""
        return 0.5 * inputs * (1 + ops.erf(inputs * math.sqrt(0.5)))

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape
