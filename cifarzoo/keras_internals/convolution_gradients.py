"""Convolutions whose gradients XLA compiles to fast code on CPUs, also inside loops.

XLA's CPU backend has a fast kernel for one order of dimensions (images [n, h, w, c], kernels [h, w, in, out]). The
gradients of a convolution are convolutions in other orders. XLA transposes their operands in the main body of a
program, but not inside a loop, where it emits plain nested loops that are some ten times slower
(https://github.com/jax-ml/jax/issues/12868). `canonical_convolutions` writes the gradients in the fast order from the
start.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import keras
from jax import lax

from cifarzoo.keras_internals.support import internal, parameters, private_module

ORDER = ("NHWC", "HWIO", "NHWC")
ARGUMENTS = ["inputs", "kernel", "strides", "padding", "data_format", "dilation_rate"]


@internal("fast gradients of convolutions", without="deep networks train about ten times slower on JAX with a CPU")
def supported() -> bool:
    """Whether Keras' JAX backend looks up its convolution where it is replaced here."""
    nn = private_module("backend.jax.nn")
    return private_module("backend").nn is nn and parameters(nn.conv) == ARGUMENTS


@contextlib.contextmanager
def canonical_convolutions():
    """Write gradients of Keras' image convolutions that are traced in the context in the order that XLA is fast at.

    Grouped, dilated and channels-first convolutions stay as they are. Only reverse-mode derivatives are defined.
    """
    if not supported.or_warn():
        yield
        return
    nn = private_module("backend.jax.nn")
    original = nn.conv

    def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
        window = kernel.shape[:2]
        plain = (
            len(inputs.shape) == 4
            and (data_format or keras.config.image_data_format()) == "channels_last"
            and inputs.shape[-1] == kernel.shape[-2]
            and dilation_rate in (1, (1, 1))
        )
        if not plain:
            return original(inputs, kernel, strides, padding, data_format, dilation_rate)
        strides = (strides, strides) if isinstance(strides, int) else tuple(strides)
        padding = tuple(lax.padtype_to_pads(inputs.shape[1:3], window, strides, padding.upper()))
        kernel = jnp.asarray(kernel)
        return _conv(jnp.asarray(inputs, kernel.dtype), kernel, strides, padding)

    nn.conv = conv
    try:
        yield
    finally:
        nn.conv = original


def _apply(images, kernel, strides, padding, image_dilation=(1, 1), kernel_dilation=(1, 1)):
    return lax.conv_general_dilated(
        images, kernel, strides, padding, image_dilation, kernel_dilation, dimension_numbers=ORDER
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(images, kernel, strides, padding):
    return _apply(images, kernel, strides, padding)


def _forward(images, kernel, strides, padding):
    return _apply(images, kernel, strides, padding), (images, kernel)


def _backward(strides, padding, saved, gradient):
    images, kernel = saved
    image_padding, kernel_padding = [], []  # for the gradients of images and of the kernel
    for n, k, s, d, (low, _) in zip(
        images.shape[1:3], kernel.shape[:2], strides, gradient.shape[1:3], padding, strict=True
    ):
        reach = (d - 1) * s + 1  # from the window's first position to its last
        image_padding.append((k - 1 - low, n - reach + low))
        kernel_padding.append((low, reach + k - 1 - n - low))
    flipped = jnp.transpose(lax.rev(kernel, (0, 1)), (0, 1, 3, 2))
    image_gradient = _apply(gradient, flipped, (1, 1), image_padding, image_dilation=strides)
    # Channels take the place of the batch, and the batch that of the channels that are summed over.
    channels = jnp.transpose(images, (3, 1, 2, 0))
    window = jnp.transpose(gradient, (1, 2, 0, 3))
    kernel_gradient = _apply(channels, window, (1, 1), kernel_padding, kernel_dilation=strides)
    return image_gradient, jnp.transpose(kernel_gradient, (1, 2, 0, 3))


_conv.defvjp(_forward, _backward)
