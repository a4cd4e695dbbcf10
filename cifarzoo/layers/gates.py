"""Gates that open or close a residual block for each image."""

import keras
from keras import ops

from cifarzoo.layers.random_factors import uniform


@keras.saving.register_keras_serializable("cifarzoo")
class StraightThroughGate(keras.layers.Layer):
    """Open above probability 1/2, and pass the gradient as if the gate were the probability itself.

    Wang, Yu, Dou, Darrell, Gonzalez: SkipNet, https://arxiv.org/abs/1711.09485, section 3.3 (hard forward, soft
    backward). Inference makes the same decisions but passes no gradient, since a step function has none: derivatives of
    the network are then those of the function that it computes.

    Args:
        cost: Price of an open gate: `cost` times the mean decision of the batch is added to the model's losses.

    Call arguments:
        inputs: Probabilities, [batch, 1].
        training: Whether to pass the gradient and add the price.

    Returns:
        Exactly 0 or 1, in the shape and dtype of the inputs.
    """

    def __init__(self, cost=0.0, **kwargs):
        super().__init__(**kwargs)
        self.cost = cost

    def call(self, inputs, training=False):
        """Return the decisions."""
        decisions = ops.cast(inputs > 0.5, inputs.dtype)
        if not training:
            return decisions
        # The difference is exactly zero, so the sum is exactly 0 or 1.
        gates = decisions + (inputs - ops.stop_gradient(inputs))
        if self.cost:
            self.add_loss(self.cost * ops.mean(ops.cast(gates, "float32")))
        return gates

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape

    def get_config(self):
        """Return the constructor's arguments."""
        return super().get_config() | {"cost": self.cost}


@keras.saving.register_keras_serializable("cifarzoo")
class SampledGate(keras.layers.Layer):
    """Open with the probability in the inputs while training; at inference, open where it exceeds 1/2.

    The gates of SkipNet's reinforcement stage. They pass no gradient: `PolicyGradient` trains the probabilities.

    Args:
        seed: Seed of the random numbers; by default one from Keras' global generator.

    Call arguments:
        inputs: Probabilities, [batch, 1].
        training: Whether to draw.

    Returns:
        Exactly 0 or 1, in the shape and dtype of the inputs.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Return the decisions."""
        threshold = 0.5
        if training:
            threshold = uniform(ops.shape(inputs), 0.0, 1.0, self.seed_generator, inputs.dtype)
        return ops.cast(inputs > threshold, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape

    def get_config(self):
        """Return the constructor's arguments."""
        return super().get_config() | {"seed": self.seed}
