"""What every family shares.

The input with its normalisation, convolution and BatchNormalization as CIFAR networks have them, and the classifier.
"""

from typing import TypedDict

import keras
import numpy as np
from keras import layers, ops

from cifarzoo.data.statistics import channel_statistics
from cifarzoo.keras_internals.grouped_convolution import use_grouped_kernel


class ModelOptions(TypedDict, total=False):
    """The keyword arguments that every factory takes; `registry.register` documents them and fills the defaults."""

    classes: int
    load_weights: bool | str
    include_top: bool
    include_preprocessing: bool
    classifier_activation: str | None
    name: str | None
    statistics: str  # whose mean and standard deviation: set by the registry, not by the user


def image_input(options: ModelOptions):
    """The input layer and what follows it: float32 [batch, 32, 32, 3], normalised if `include_preprocessing`."""
    inputs = keras.Input((32, 32, 3), name="image")
    if not options["include_preprocessing"]:
        return inputs, inputs
    mean, std = channel_statistics(options["statistics"])
    normalization = layers.Normalization(
        # Arrays, because TensorFlow makes float32 of lists.
        mean=np.array(mean),
        variance=np.square(std),
        # At least float32: bfloat16 keeps only 8 bits of (pixel - mean).
        dtype=keras.config.dtype_policy().variable_dtype,
        name="normalization",
    )
    return inputs, normalization(inputs)


def conv(x, filters, kernel_size, stride=1, *, use_bias=False, groups=1, name):
    """Convolution with He initialisation (fan-out, as the PyTorch and JAX CIFAR code has it) and symmetric padding."""
    padding = "same"
    if stride > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    layer = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding=padding,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )
    if groups > 1:
        use_grouped_kernel(layer)
    return layer(x)


def append_channels(x, filters):
    """Append zero channels after those of `x` until there are `filters`."""
    extra = filters - x.shape[-1]
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, extra]]) if extra else x


def batch_norm(x, *, name, momentum=0.9, epsilon=1e-5, scale=True, gamma_initializer="ones"):
    """BatchNormalization with the field's constants; Keras' own 0.99 and 1e-3 suit longer runs and other scales."""
    return layers.BatchNormalization(
        momentum=momentum, epsilon=epsilon, scale=scale, gamma_initializer=gamma_initializer, name=name
    )(x)


def variable_dtype():
    """The precision in which weights are kept."""
    return keras.config.dtype_policy().variable_dtype


def linear(x, options: ModelOptions, use_bias=True):
    """The classifier: a linear layer named "logits", with the activation that the options ask for."""
    # Logits keep the variables' precision: in bfloat16 they would be rounded to two or three digits.
    return layers.Dense(
        options["classes"],
        activation=options["classifier_activation"],
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        dtype=variable_dtype(),
        name="logits",
    )(x)


def activation(x, options: ModelOptions):
    """The activation that the options ask for, where something comes between it and the linear layer."""
    if options["classifier_activation"] is None:
        return x
    return layers.Activation(options["classifier_activation"], dtype=x.dtype, name="activation")(x)


def scaled_linear(x, options: ModelOptions, scale):
    """A classifier without bias whose logits are multiplied by `scale` before the activation."""
    x = linear(x, options | {"classifier_activation": None}, use_bias=False)
    return activation(layers.Rescaling(scale, dtype=x.dtype, name="scaled_logits")(x), options)


def head(x, options: ModelOptions):
    """Global average pooling and the linear classifier, or the feature map itself without `include_top`."""
    if not options["include_top"]:
        return x
    return linear(layers.GlobalAveragePooling2D(name="pool")(x), options)
