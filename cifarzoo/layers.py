"""The few layers that Keras lacks: random forward and backward shares, and gates.

Every random layer draws through a `keras.random.SeedGenerator`, whose state is a variable of the model: a checkpoint
that keeps all of `model.variables` resumes the same sequence. Backward passes that differ from the forward pass are
written as `b * x + stop_gradient((f - b) * x)`, which is f * x forward and b backward on every backend.
"""

import keras
from keras import ops

PACKAGE = "cifarzoo"


def _share(shape, low, high, seed_generator, dtype):
    """Uniform numbers; drawn in float32, because bfloat16 knows only 256 of them between 1 and 2."""
    return ops.cast(keras.random.uniform(shape, low, high, dtype="float32", seed=seed_generator), dtype)


def _mask_shape(x, mask):
    """Shape of one number an image, or one a batch, that multiplies `x`."""
    count = ops.shape(x)[0] if mask == "image" else 1
    return (count,) + (1,) * (len(x.shape) - 1)


@keras.saving.register_keras_serializable(PACKAGE)
class ShakeShake(keras.layers.Layer):
    """Mix two branches of a residual block in random shares, others forward than backward.

    Gastaldi: Shake-Shake regularization, https://arxiv.org/abs/1705.07485, "Shake-Shake-Image".

    While training, every image has its own alpha, uniform in [0, 1], and the output is alpha * first +
    (1 - alpha) * second. Backward the gradient is shared by beta and 1 - beta, drawn independently of
    alpha. At inference all shares are 1/2.

    Args:
        seed: Of the random numbers; by default from Keras' global generator.

    Call arguments:
        inputs: A pair of tensors of the same shape, [batch, ...].
        training: Whether to draw shares.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """The mixture, of the branches' shape."""
        first, second = inputs
        if not training:
            return 0.5 * (first + second)
        shape = _mask_shape(first, "image")
        alpha = _share(shape, 0.0, 1.0, self.seed_generator, first.dtype)
        beta = _share(shape, 0.0, 1.0, self.seed_generator, first.dtype)
        backward = beta * first + (1 - beta) * second
        return backward + ops.stop_gradient((alpha - beta) * (first - second))

    def compute_output_shape(self, input_shape):
        """The shape of either branch."""
        return input_shape[0]

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class ShakeDrop(keras.layers.Layer):
    """Keep a residual branch, or scale it by random numbers, others forward than backward.

    Yamada, Iwamura, Akiba, Kise: ShakeDrop Regularization for Deep Residual Learning, https://arxiv.org/abs/1802.02375.

    While training, with probability `keep` the input passes unchanged. Otherwise every image has its own alpha, uniform
    in [-1, 1], that multiplies the output, and its own beta, uniform in [0, 1], that multiplies the gradient. At
    inference the input is multiplied by `keep`, the expectation of the forward factor.

    Args:
        keep: Probability that the branch passes, in [0, 1].
        mask: Whether every "image" is kept or shaken by itself (as in the Flax implementation), or the whole "batch"
            together (as in the PyTorch implementations of the authors' line and of Fast AutoAugment, where with several
            devices a batch is a device's share). Alpha and beta are drawn for every image in both.
        seed: Of the random numbers; by default from Keras' global generator.

    Call arguments:
        inputs: A tensor, [batch, ...].
        training: Whether to draw.

    Raises:
        ValueError: `keep` is no probability, or `mask` neither "image" nor "batch".
    """

    def __init__(self, keep, mask="image", seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= keep <= 1:
            raise ValueError(f"keep is a probability, got {keep!r}")
        if mask not in ("image", "batch"):
            raise ValueError(f"mask is 'image' or 'batch', got {mask!r}")
        self.keep, self.mask, self.seed = keep, mask, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """The kept or shaken branch, of the input's shape."""
        if not training:
            return self.keep * inputs
        dtype, shape = inputs.dtype, _mask_shape(inputs, "image")
        chance = keras.random.uniform(_mask_shape(inputs, self.mask), dtype="float32", seed=self.seed_generator)
        kept = ops.cast(chance < self.keep, dtype)
        alpha = _share(shape, -1.0, 1.0, self.seed_generator, dtype)
        beta = _share(shape, 0.0, 1.0, self.seed_generator, dtype)
        forward = kept + (1 - kept) * alpha
        backward = kept + (1 - kept) * beta
        return backward * inputs + ops.stop_gradient((forward - backward) * inputs)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"keep": self.keep, "mask": self.mask, "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class StraightThroughGate(keras.layers.Layer):
    """Open or close at probability 1/2, and pass the gradient as if the probability itself had passed.

    Wang, Yu, Dou, Darrell, Gonzalez: SkipNet, https://arxiv.org/abs/1711.09485, section 3.3 (hard forward, soft
    backward). Training and inference do the same.

    Args:
        cost: Price of an open gate: `cost` times the batch's mean is added to the model's losses.

    Call arguments:
        inputs: Probabilities, [batch, 1].

    Returns:
        0 or 1, exactly, of the inputs' shape and dtype.
    """

    def __init__(self, cost=0.0, **kwargs):
        super().__init__(**kwargs)
        self.cost = cost

    def call(self, inputs):
        """The decisions."""
        decisions = ops.cast(inputs > 0.5, inputs.dtype)
        # The difference is exactly zero, so that the sum is exactly 0 or 1.
        gates = decisions + (inputs - ops.stop_gradient(inputs))
        if self.cost:
            self.add_loss(self.cost * ops.mean(ops.cast(gates, "float32")))
        return gates

    def compute_output_shape(self, input_shape):
        """The inputs' shape."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"cost": self.cost}
