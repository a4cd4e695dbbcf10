"""Grouped convolutions that train at a usable speed on CPUs.

On the TensorFlow backend Keras compiles every grouped convolution with XLA, whose gradient on a CPU is hundreds of
times slower than TensorFlow's own kernel. That kernel exists on GPUs and in TensorFlow builds with oneDNN. Where it is
missing (float64, other CPUs), one ordinary convolution with a block-diagonal kernel computes the same sums.
"""

import functools

import keras
import numpy as np
from keras import ops

from cifarzoo.keras_internals.support import internal, parameters


@internal("replacing a layer's convolution", without="grouped convolutions train slowly on TensorFlow with a CPU")
def supported() -> bool:
    """Whether Conv2D computes its sums in a method that can be replaced."""
    return parameters(keras.layers.Conv2D.convolution_op) == ["self", "inputs", "kernel"]


def use_grouped_kernel(layer: keras.layers.Conv2D) -> None:
    """Replace the convolution of a layer with `groups` above 1, "same" or "valid" padding and no dilation.

    The object changes and not its class, so that a saved file holds a plain Conv2D.
    """
    if supported.or_warn():
        layer.convolution_op = functools.partial(_grouped_convolution, layer)


def _grouped_convolution(layer, inputs, kernel):
    strides, padding = list(layer.strides), layer.padding
    if keras.backend.backend() != "tensorflow":
        return ops.conv(inputs, kernel, strides, padding)
    if _has_own_kernel(keras.backend.standardize_dtype(inputs.dtype)):
        import tensorflow as tf

        return tf.nn.conv2d(inputs, kernel, strides, padding.upper())
    channels_per_group, filters = kernel.shape[-2:]
    blocks = np.kron(np.eye(layer.groups), np.ones((channels_per_group, filters // layer.groups)))
    block_diagonal = ops.tile(kernel, (1, 1, layer.groups, 1)) * ops.cast(blocks, kernel.dtype)
    return ops.conv(inputs, block_diagonal, strides, padding)


@functools.cache
def _has_own_kernel(dtype: str) -> bool:
    """Whether TensorFlow can run a grouped convolution forward and backward on this machine."""
    import tensorflow as tf

    # No gradient tape records within `init_scope`, so the gradient's two kernels are called by name.
    with tf.init_scope():
        image, kernel, output = tf.ones((1, 4, 4, 4), dtype), tf.ones((3, 3, 2, 4), dtype), tf.ones((1, 2, 2, 4), dtype)
        shape = {"strides": [1, 1, 1, 1], "padding": "VALID"}
        try:
            tf.raw_ops.Conv2D(input=image, filter=kernel, **shape)
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=image.shape.as_list(), filter=kernel, out_backprop=output, **shape
            )
            tf.raw_ops.Conv2DBackpropFilter(
                input=image, filter_sizes=kernel.shape.as_list(), out_backprop=output, **shape
            )
        except tf.errors.OpError:
            return False
    return True
