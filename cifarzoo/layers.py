"""The few layers that Keras lacks (a bias, BatchNormalization by groups, random forward and backward shares, gates and
what teaches them), and an initializer.

Every random layer draws through a `keras.random.SeedGenerator`, whose state is a variable of the model: a checkpoint
that keeps all of `model.variables` resumes the same sequence. Backward passes that differ from the forward pass are
written as `b * x + stop_gradient((f - b) * x)`, which is f * x forward and b backward on every backend.
"""

import keras
import numpy as np
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
class PartialIdentity(keras.initializers.Initializer):
    """Kernels of odd size whose first output channels copy the input channels; the others are uniform.

    The uniform ones are PyTorch's default, in ± 1 / sqrt(fan-in).
    """

    def __init__(self):
        self.uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")

    def __call__(self, shape, dtype=None):
        """A kernel [height, width, input channels, output channels]."""
        height, width, channels, filters = shape
        drawn = self.uniform(shape, dtype)
        copied = min(channels, filters)
        identity = np.zeros((height, width, channels, copied))
        identity[height // 2, width // 2, range(copied), range(copied)] = 1
        return ops.concatenate([ops.cast(identity, drawn.dtype), drawn[..., copied:]], axis=-1)


@keras.saving.register_keras_serializable(PACKAGE)
class ChannelBias(keras.layers.Layer):
    """Add a learnt number to every channel: the bias of a layer whose other weights are fixed.

    Call arguments:
        inputs: A tensor, [batch, ..., channels].
    """

    def build(self, input_shape):
        """Create the bias, float [channels], of zeros."""
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, inputs):
        """The sum, of the inputs' shape."""
        return inputs + ops.cast(self.bias, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """The inputs' shape."""
        return input_shape


@keras.saving.register_keras_serializable(PACKAGE)
class GhostBatchNormalization(keras.layers.BatchNormalization):
    """BatchNormalization over groups of a batch's images: the noise of small batches in large ones.

    Hoffer, Hubara, Soudry: Train longer, generalize better, https://arxiv.org/abs/1705.08741, section 4. The moving
    statistics follow the means of the groups' means and variances, once a step, as in cifar10-fast; at inference it is
    BatchNormalization.

    Args:
        group_size: Images a group, consecutive ones. A batch that does not divide into such groups is one group. With
            several replicas in TensorFlow a batch is a replica's share, and the moving statistics follow all of them.
        **kwargs: Of `keras.layers.BatchNormalization`, but `renorm` and `synchronized`; `axis` is the last one.

    Call arguments:
        inputs: A tensor, [batch, ..., channels].
        training: Whether to normalise by the batch's own statistics.

    Raises:
        ValueError: `group_size` is no positive whole number, `axis` not the last, or an argument has no meaning here.
    """

    def __init__(self, group_size=32, **kwargs):
        for name in ("renorm", "synchronized"):
            if kwargs.get(name):
                raise ValueError(f"{name} has no meaning for groups of a batch")
        super().__init__(**kwargs)
        self.supports_masking = False
        if not isinstance(group_size, int) or group_size < 1:
            raise ValueError(f"group_size is a positive whole number, got {group_size!r}")
        if self.axis != -1:
            raise ValueError(f"axis is the last one, -1, got {self.axis!r}")
        self.group_size = group_size

    def call(self, inputs, training=None):
        """The normalised tensor, of the inputs' shape and dtype."""
        if not (training and self.trainable):
            return super().call(inputs, training=False)
        shape = ops.shape(inputs)
        divides = shape[0] % self.group_size == 0
        groups = shape[0] // self.group_size if divides is True else 1
        if not isinstance(divides, bool):  # a batch whose size is not known before it comes
            groups = ops.where(divides, shape[0] // self.group_size, 1)
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, self.variable_dtype, "float32"))
        x = ops.reshape(x, (groups, -1, *shape[1:]))
        mean, variance = ops.moments(x, axes=list(range(1, len(shape))), keepdims=True)
        self.follow(*(ops.reshape(ops.mean(found, axis=0), (-1,)) for found in (mean, variance)))
        scale = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * self.gamma
        shift = -mean * scale
        if self.center:
            shift = shift + self.beta
        return ops.cast(ops.reshape(x * scale + shift, shape), inputs.dtype)

    def follow(self, mean, variance):
        """Blend the groups' mean and variance, float [channels], into the moving statistics."""
        for variable, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
            variable.assign(variable * self.momentum + ops.cast(found, variable.dtype) * (1 - self.momentum))

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"group_size": self.group_size}


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
    backward). At inference the decisions are the same and pass no gradient, as what jumps has none: derivatives of the
    network are then those of its function.

    Args:
        cost: Price of an open gate: `cost` times the batch's mean is added to the model's losses.

    Call arguments:
        inputs: Probabilities, [batch, 1].
        training: Whether to pass the gradient and to count the price.

    Returns:
        0 or 1, exactly, of the inputs' shape and dtype.
    """

    def __init__(self, cost=0.0, **kwargs):
        super().__init__(**kwargs)
        self.cost = cost

    def call(self, inputs, training=False):
        """The decisions."""
        decisions = ops.cast(inputs > 0.5, inputs.dtype)
        if not training:
            return decisions
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


@keras.saving.register_keras_serializable(PACKAGE)
class SampledGate(keras.layers.Layer):
    """Open with the given probability while training; at inference open where it is above 1/2.

    The gates of SkipNet's reinforcement stage. No gradient passes: `PolicyGradient` is what teaches the probabilities.

    Args:
        seed: Of the random numbers; by default from Keras' global generator.

    Call arguments:
        inputs: Probabilities, [batch, 1].
        training: Whether to draw.

    Returns:
        0 or 1, exactly, of the inputs' shape and dtype.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """The decisions."""
        threshold = 0.5
        if training:
            threshold = _share(ops.shape(inputs), 0.0, 1.0, self.seed_generator, inputs.dtype)
        return ops.cast(inputs > threshold, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """The inputs' shape."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class PolicyGradient(keras.layers.Layer):
    """Pass logits unchanged, and give sampled gates the gradient of the expected loss plus the price of open gates.

    Wang, Yu, Dou, Darrell, Gonzalez: SkipNet, https://arxiv.org/abs/1711.09485, section 3.2 (hybrid reinforcement
    learning). With gates g drawn for every image, the objective is the mean over images of E_g[L + cost * (number of
    open gates)], where L is the image's cross-entropy; with the paper's reward of alpha / N for a skipped block as
    `cost` it is the paper's, up to a constant. The gradient for gate i is that of log p(g_i) times
    L + cost * (number of open gates from i on) - baseline, which is REINFORCE with reward to go; all that L itself
    depends on gets its ordinary gradient.

    Two deviations. The paper may give L a smaller weight in the reward; here it is 1, and the gradient that of the
    objective. And from the other images comes a baseline, the mean of their prices to go plus the mean entropy of the
    classes predicted for them, which is what a calibrated network's L is on average: it leaves the expectation of the
    gradient as it is and takes off noise. Where BatchNormalization lets images see each other's gates, that
    part of the gradient is left out, as in the paper.

    The layer needs no labels. It adds (log p(g) - stop_gradient(log p(g))) * log q to the logits, a zero, q being the
    predicted probabilities. The cross-entropy of labels y has the gradient q - y for the logits, hence for log p(g)
    sum((q - y) * log q) = L - entropy(q), and the entropy comes back as a loss. So the layer works under whatever
    minimises the mean cross-entropy of a softmax over these logits, smoothed and mixed labels included, and under
    nothing else.

    Args:
        cost: Price of an open gate.

    Call arguments:
        inputs: Logits [batch, classes], probabilities of the gates to be open [batch, gates] and their decisions,
            0 or 1 [batch, gates], both in the order in which the gates decide.
        training: Whether to teach.

    Returns:
        The logits. The loss that is added has the batch's mean price as its value.
    """

    def __init__(self, cost, **kwargs):
        super().__init__(**kwargs)
        self.cost = cost

    def call(self, inputs, training=False):
        """The logits."""
        logits, probabilities, gates = inputs
        if not training:
            return logits
        # A gate that is sure of itself to the last bit would have the logarithm of zero.
        p = ops.clip(probabilities, 1e-6, 1 - 1e-6)
        log_p = gates * ops.log(p) + (1 - gates) * ops.log(1 - p)
        total = ops.sum(log_p, axis=-1, keepdims=True)
        log_q = ops.stop_gradient(ops.log_softmax(logits))
        entropy = -ops.sum(ops.exp(log_q) * log_q, axis=-1, keepdims=True)
        price = self.cost * ops.flip(ops.cumsum(ops.flip(gates, axis=-1), axis=-1), axis=-1)
        advantage = ops.stop_gradient(price - _mean_of_others(price) + entropy - _mean_of_others(entropy))
        policy = ops.mean(ops.sum(advantage * log_p, axis=-1))
        self.add_loss(self.cost * ops.mean(ops.sum(gates, axis=-1)) + policy - ops.stop_gradient(policy))
        return logits + (total - ops.stop_gradient(total)) * log_q

    def compute_output_shape(self, input_shape):
        """The logits' shape."""
        return input_shape[0]

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"cost": self.cost}


def _mean_of_others(x):
    """For every image the mean of `x` [batch, ...] over the other images; zero if there is none."""
    others = ops.maximum(ops.shape(x)[0] - 1, 1)
    return (ops.sum(x, axis=0, keepdims=True) - x) / ops.cast(others, x.dtype)
