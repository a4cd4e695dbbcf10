"""Layers that all families share: normalized input, convolution, BatchNormalization, classifier."""

import os
from typing import Any, Literal, TypedDict

import keras
from keras import layers, ops

from cifarzoo.data.statistics import PER_PIXEL, scale_and_offset
from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.grouped_convolution import use_grouped_kernel
from cifarzoo.models.arguments import IMAGE_SIZE

StridedPadding = Literal["symmetric", "same"]

STRIDED_PADDING = (
    'How strided 3x3 convolutions pad: "symmetric", one pixel on every side, or "same", right and bottom only, which '
    "TensorFlow and Keras mean by it."
)


class ModelOptions(TypedDict, total=False):
    """The keyword arguments of every factory; `registry.register` documents them and fills in the defaults."""

    classes: int
    load_weights: bool | str | os.PathLike[str]
    include_top: bool
    include_preprocessing: bool
    classifier_activation: str | None
    name: str | None
    statistics: Any  # `data.statistics.Statistics` when the network is built
    image_size: int


def image_input(options: ModelOptions):
    """Return the input, [batch, size, size, 3], and the tensor that follows: normalized if `include_preprocessing`.

    Raises:
        ModelError: The statistics are those of the pixels of smaller or larger images.
    """
    size = options["image_size"]
    x = inputs = keras.Input((size, size, 3), name="image")
    if options["include_preprocessing"]:
        if options["statistics"] == PER_PIXEL and size != IMAGE_SIZE:
            raise ModelError(
                f"statistics: {PER_PIXEL!r} has a mean for every pixel of 32x32 images, got image_size {size}"
            )
        scale, offset = scale_and_offset(options["statistics"])
        # Not Normalization, because tf2onnx turns its constants into extra inputs of an exported model.
        x = layers.Rescaling(
            # Rounded to float32, as TensorFlow does with lists, so that all backends agree in float64, too.
            scale.tolist(),
            offset.tolist(),
            # At least float32: bfloat16 keeps only 8 bits of (pixel - mean).
            dtype=variable_dtype(),
            name="normalization",
        )(x)
    return inputs, x


def check_size(x):
    """Refuse images of another size. Apply this to the output of the first convolution, which it returns unchanged.

    Keras' own check lets such images pass once `predict` has traced images of any size: on TensorFlow after batches of
    several shapes, on JAX always. The convolution itself refuses another number of channels.
    """
    return layers.Reshape(x.shape[1:], dtype=x.dtype, name="stem_size")(x)


def check_image_size(options: ModelOptions, halvings):
    """Check that a network can take images of the `image_size` of the options.

    Args:
        options: The factory's.
        halvings: How often pooling halves them, which would leave nothing of a smaller one.

    Raises:
        ModelError: It cannot.
    """
    size = options["image_size"]
    if size < 2**halvings:
        raise ModelError(
            f"image_size is at least {2**halvings} here, as images are halved {halvings} times, got {size}"
        )


def check_choice(argument, value, valid):
    """Raise ModelError unless the value of an argument is one of the valid ones."""
    if value not in valid:
        raise ModelError(f"{argument} must be {' or '.join(map(repr, valid))}, got {value!r}")


def check_size_arguments(**sizes):
    """Raise ModelError unless all values are positive integers."""
    for argument, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelError(f"{argument} must be a positive integer, got {value!r}")


def he_normal(gain=1.0):
    """Return He initialization by fan-out, as in PyTorch and JAX code for CIFAR, multiplied by `gain`."""
    return keras.initializers.VarianceScaling(2.0 * gain**2, "fan_out", "untruncated_normal")


def conv(
    x,
    filters,
    kernel_size,
    stride=1,
    *,
    use_bias=False,
    groups=1,
    strided_padding: StridedPadding = "symmetric",
    initializer=None,
    name,
):
    """Convolve; the kernel starts from `initializer`, by default `he_normal`.

    Zeros are padded on all sides alike, so that a stride of 1 keeps height and width. With a larger stride,
    `strided_padding="same"` pads right and bottom only, as TensorFlow does where height and width are even.
    """
    padding = "same"
    if stride > 1 and kernel_size > 1 and strided_padding == "symmetric":
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    layer = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding=padding,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=he_normal() if initializer is None else initializer,
        name=name,
    )
    if groups > 1:
        use_grouped_kernel(layer)
    return layer(x)


def append_channels(x, filters):
    """Append zero channels to `x` until it has `filters` channels."""
    extra = filters - x.shape[-1]
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, extra]]) if extra else x


def batch_norm(x, *, name, momentum=0.9, epsilon=1e-5, scale=True, gamma_initializer="ones"):
    """Apply BatchNormalization with PyTorch's constants; Keras' 0.99 and 1e-3 suit longer runs and other scales."""
    return layers.BatchNormalization(
        momentum=momentum, epsilon=epsilon, scale=scale, gamma_initializer=gamma_initializer, name=name
    )(x)


def variable_dtype():
    """Return the precision of variables under the current dtype policy."""
    return keras.config.dtype_policy().variable_dtype


def linear(x, options: ModelOptions, use_bias=True):
    """Apply the classifier: a linear layer named "logits" with the `classifier_activation` of the options."""
    # Logits keep the variables' precision: bfloat16 would round them to two or three digits.
    return layers.Dense(
        options["classes"],
        activation=options["classifier_activation"],
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        dtype=variable_dtype(),
        name="logits",
    )(x)


def activation(x, options: ModelOptions):
    """Apply the `classifier_activation` of the options, for classifiers with a layer between it and `linear`."""
    if options["classifier_activation"] is None:
        return x
    return layers.Activation(options["classifier_activation"], dtype=x.dtype, name="activation")(x)


def scaled_linear(x, options: ModelOptions, scale):
    """Apply a classifier without bias that multiplies its logits by `scale` before the activation."""
    x = linear(x, options | {"classifier_activation": None}, use_bias=False)
    return activation(layers.Rescaling(scale, dtype=x.dtype, name="scaled_logits")(x), options)


def head(x, options: ModelOptions):
    """Apply global average pooling and the linear classifier; without `include_top`, return the feature map."""
    if not options["include_top"]:
        return x
    return linear(layers.GlobalAveragePooling2D(name="pool")(x), options)
