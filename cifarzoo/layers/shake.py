"""Shake-Shake and ShakeDrop: random factors on residual branches, drawn separately for forward and backward."""

import keras
from keras import ops

from cifarzoo.layers.random_factors import factor_shape, uniform


@keras.saving.register_keras_serializable("cifarzoo")
class ShakeShake(keras.layers.Layer):
    """Mix two branches of a residual block in random shares that differ between forward and backward pass.

    Gastaldi: Shake-Shake regularization, https://arxiv.org/abs/1705.07485, "Shake-Shake-Image".

    While training, every image draws its own alpha, uniform in [0, 1], and the output is alpha * first +
    (1 - alpha) * second. The gradient is shared by beta and 1 - beta, drawn independently of alpha. At inference all
    shares are 1/2.

    Args:
        seed: Seed of the random numbers; by default one from Keras' global generator.

    Call arguments:
        inputs: A pair of tensors of the same shape, [batch, ...].
        training: Whether to draw shares.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Return the mixture, in the shape of the branches."""
        first, second = inputs
        if not training:
            return 0.5 * (first + second)
        shape = factor_shape(first, "image")
        alpha = uniform(shape, 0.0, 1.0, self.seed_generator, first.dtype)
        beta = uniform(shape, 0.0, 1.0, self.seed_generator, first.dtype)
        backward = beta * first + (1 - beta) * second
        return backward + ops.stop_gradient((alpha - beta) * (first - second))

    def compute_output_shape(self, input_shape):
        """Return the shape of either branch."""
        return input_shape[0]

    def get_config(self):
        """Return the constructor's arguments."""
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable("cifarzoo")
class ShakeDrop(keras.layers.Layer):
    """Keep a residual branch, or scale it by random factors that differ between forward and backward pass.

    Yamada, Iwamura, Akiba, Kise: ShakeDrop Regularization for Deep Residual Learning, https://arxiv.org/abs/1802.02375.

    While training, the input passes unchanged with probability `keep`. Otherwise every image draws its own alpha,
    uniform in [-1, 1], which multiplies the output, and its own beta, uniform in [0, 1], which multiplies the gradient.
    At inference the input is multiplied by `keep`, the expectation of the forward factor.

    Args:
        keep: Probability that the branch passes, in [0, 1].
        mask: "image" decides for each image whether to keep it (as the Flax implementation does), "batch" once for the
            whole batch (as the PyTorch implementations of the paper's authors and of Fast AutoAugment do, where on
            several devices the batch is a device's share). Alpha and beta are drawn per image in both cases.
        seed: Seed of the random numbers; by default one from Keras' global generator.

    Call arguments:
        inputs: A tensor, [batch, ...].
        training: Whether to draw.

    Raises:
        ValueError: `keep` is not a probability, or `mask` is neither "image" nor "batch".
    """

    def __init__(self, keep, mask="image", seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= keep <= 1:
            raise ValueError(f"keep must be a probability, got {keep!r}")
        if mask not in ("image", "batch"):
            raise ValueError(f"mask must be 'image' or 'batch', got {mask!r}")
        self.keep, self.mask, self.seed = keep, mask, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Return the kept or scaled branch, in the shape of the input."""
        if not training:
            return self.keep * inputs
        dtype, shape = inputs.dtype, factor_shape(inputs, "image")
        chance = keras.random.uniform(factor_shape(inputs, self.mask), dtype="float32", seed=self.seed_generator)
        kept = ops.cast(chance < self.keep, dtype)
        alpha = uniform(shape, -1.0, 1.0, self.seed_generator, dtype)
        beta = uniform(shape, 0.0, 1.0, self.seed_generator, dtype)
        forward = kept + (1 - kept) * alpha
        backward = kept + (1 - kept) * beta
        return backward * inputs + ops.stop_gradient((forward - backward) * inputs)

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return the constructor's arguments."""
        return super().get_config() | {"keep": self.keep, "mask": self.mask, "seed": self.seed}
