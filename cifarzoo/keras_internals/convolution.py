"""Convolutions whose gradients XLA compiles to fast code on processors, inside loops, too.

XLA's processor backend has a fast kernel for one order of dimensions (images [n, h, w, c], kernels [h, w, in, out]).
Gradients of a convolution are convolutions in other orders. XLA transposes their operands where they stand in a
program's main body, but not inside a loop, where plain nested loops some ten times slower are what it makes of them
(https://github.com/jax-ml/jax/issues/12868). While `canonical_convolutions` is active, gradients are written in the
fast order from the start.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
from jax import lax
from keras.src.backend.jax import nn

ORDER = ("NHWC", "HWIO", "NHWC")


@contextlib.contextmanager
def canonical_convolutions():
    """While active, Keras' convolutions of images that are traced have gradients in the order that XLA is fast at.

    Grouped, dilated and channels-first ones are left as they are. Only reverse-mode derivatives are defined.
    """
    original = nn.conv

    def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
        window = kernel.shape[:2]
        plain = (
            len(inputs.shape) == 4
            and nn.backend.standardize_data_format(data_format) == "channels_last"
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
    before, after = [], []  # of padding, for the gradients of images and kernel
    for n, k, s, d, (low, _) in zip(
        images.shape[1:3], kernel.shape[:2], strides, gradient.shape[1:3], padding, strict=True
    ):
        reach = (d - 1) * s + 1  # from the first to the last place of the window
        before.append((k - 1 - low, n - reach + low))
        after.append((low, reach + k - 1 - n - low))
    flipped = jnp.transpose(lax.rev(kernel, (0, 1)), (0, 1, 3, 2))
    of_images = _apply(gradient, flipped, (1, 1), before, image_dilation=strides)
    # Channels take the place of the batch, and the batch that of the channels that are summed over.
    channels = jnp.transpose(images, (3, 1, 2, 0))
    places = jnp.transpose(gradient, (1, 2, 0, 3))
    of_kernel = _apply(channels, places, (1, 1), after, kernel_dilation=strides)
    return of_images, jnp.transpose(of_kernel, (1, 2, 0, 3))


_conv.defvjp(_forward, _backward)
