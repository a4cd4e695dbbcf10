"""BatchNormalization for the TensorFlow engine: the fused kernel, and statistics of the whole global batch.

Keras 3 computes the moments and the affine map as separate operations. `fused_batch_normalization` makes every
`keras.layers.BatchNormalization` that is traced in the context run TensorFlow's fused kernel; the models stay plain
Keras. `cifarzoo.layers.GhostBatchNormalization` runs the kernel on each of its groups, and its moving statistics follow
all replicas.
"""

import contextlib

import keras
import tensorflow as tf

from cifarzoo.errors import ExperimentError
from cifarzoo.keras_internals.support import internal, parameters
from cifarzoo.layers import GhostBatchNormalization


@internal("fused BatchNormalization", without="training on TensorFlow is slower, and takes one device only")
def supported() -> bool:
    """Whether BatchNormalization takes the arguments that it is called with here."""
    call = parameters(keras.layers.BatchNormalization.call)
    return call == ["self", "inputs", "training", "mask"] and callable(tf.raw_ops.FusedBatchNormV3)


def _record(layer, mean, variance):
    """Blend a batch's mean and biased variance (float tensors [channels]) into the layer's moving statistics."""
    for variable, batch_value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        variable.assign(variable.value * layer.momentum + batch_value * (1 - layer.momentum))


def _is_fusable(layer, x):
    return (
        len(x.shape) == 4
        and layer.axis in (3, -1)
        and x.dtype in (tf.float32, tf.bfloat16, tf.float16)
        and layer.variable_dtype == "float32"
    )


def _gamma_beta(layer):
    channels = layer.moving_mean.shape
    gamma = layer.gamma.value if layer.scale else tf.ones(channels, layer.variable_dtype)
    beta = layer.beta.value if layer.center else tf.zeros(channels, layer.variable_dtype)
    return gamma, beta


def _normalize(layer, x, mean, variance):
    gamma, beta = _gamma_beta(layer)
    scale = gamma * tf.math.rsqrt(variance + layer.epsilon)
    return tf.cast(tf.cast(x, scale.dtype) * scale + (beta - mean * scale), x.dtype)


def _train(layer, x):
    if not _is_fusable(layer, x):
        x_wide = tf.cast(x, layer.variable_dtype)
        mean, variance = tf.nn.moments(x_wide, list(range(len(x.shape) - 1)))
        _record(layer, mean, variance)
        return _normalize(layer, x, mean, variance)
    y, mean, variance = _fused(layer, x)
    _record(layer, mean, variance)
    return y


def _fused(layer, x):
    """Return the normalized tensor, and mean and biased variance per channel."""
    gamma, beta = _gamma_beta(layer)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )
    # The kernel returns the unbiased variance (n / (n - 1)); Keras keeps the biased one.
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), variance.dtype)
    return y, mean, variance * ((count - 1) / count)


def _train_groups(layer, x):
    groups = x.shape[0] // layer.group_size
    y, means, variances = zip(*(_fused(layer, part) for part in tf.split(x, groups)), strict=True)
    layer.update_moving_statistics(tf.add_n(means) / groups, tf.add_n(variances) / groups)
    return tf.concat(y, 0)


def _train_synchronized(layer, x):
    replica = tf.distribute.get_replica_context()
    x_wide = tf.cast(x, layer.variable_dtype)
    axes = list(range(len(x.shape) - 1))
    # Two rounds, because E[x^2] - E[x]^2 loses the digits that make one and many replicas equal.
    mean = replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.reduce_mean(x_wide, axes))
    variance = replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.reduce_mean(tf.square(x_wide - mean), axes))
    _record(layer, mean, variance)
    return _normalize(layer, x, mean, variance)


def _infer(layer, x):
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    if not _is_fusable(layer, x):
        return _normalize(layer, x, mean, variance)
    gamma, beta = _gamma_beta(layer)
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=layer.epsilon, is_training=False
    ).y


@contextlib.contextmanager
def fused_batch_normalization(synchronized: bool = False):
    """Run BatchNormalization layers that are traced in the context as described above.

    Args:
        synchronized: Take the statistics over all replicas' shares of the batch.

    Raises:
        ExperimentError: `synchronized`, and this Keras version does not support it. Without it, plain Keras takes over.
    """
    if synchronized and not supported():
        raise ExperimentError(
            f"distribution: with Keras {keras.__version__}, BatchNormalization cannot be synchronized over replicas; "
            "use distribution: none, or an earlier Keras"
        )
    if not supported.or_warn():
        yield
        return
    original = keras.layers.BatchNormalization.call

    def call(self, inputs, training=None, mask=None):
        renormalizes = getattr(self, "renorm", False)
        if mask is not None or renormalizes or self.axis not in (-1, len(inputs.shape) - 1):
            return original(self, inputs, training=training, mask=mask)
        if not (training and self.trainable):
            return _infer(self, inputs)
        return (_train_synchronized if synchronized else _train)(self, inputs)

    original_groups = GhostBatchNormalization.call

    def call_groups(self, inputs, training=None):
        divides = isinstance(inputs.shape[0], int) and inputs.shape[0] % self.group_size == 0
        if training and self.trainable and divides and _is_fusable(self, inputs):
            return _train_groups(self, inputs)
        return original_groups(self, inputs, training=training)

    update = GhostBatchNormalization.update_moving_statistics

    def update_over_replicas(self, mean, variance):
        replica = tf.distribute.get_replica_context()
        update(self, *(replica.all_reduce(tf.distribute.ReduceOp.MEAN, value) for value in (mean, variance)))

    keras.layers.BatchNormalization.call = call
    # Methods are replaced on purpose, which is what mypy warns about.
    GhostBatchNormalization.call = call_groups  # type: ignore[method-assign]
    if synchronized:
        GhostBatchNormalization.update_moving_statistics = update_over_replicas  # type: ignore[method-assign]
    try:
        yield
    finally:
        keras.layers.BatchNormalization.call = original
        GhostBatchNormalization.call = original_groups  # type: ignore[method-assign]
        GhostBatchNormalization.update_moving_statistics = update  # type: ignore[method-assign]
