"""Grouped convolution that can be trained on a CPU.

On the TensorFlow backend Keras compiles every grouped convolution with XLA, whose gradient on a CPU is hundreds of
times slower than TensorFlow's own kernel. TensorFlow has that kernel wherever it was built with oneDNN and on GPUs;
where it is missing (float64, other CPUs) the same sums are one ordinary convolution with a block-diagonal kernel.
"""

import functools

import keras
import numpy as np
from keras import ops


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


def grouped_convolution(layer, inputs, kernel):
    """What `keras.layers.Conv2D.convolution_op` computes for a layer with `groups` above 1."""
    strides, padding = list(layer.strides), layer.padding
    if keras.backend.backend() != "tensorflow":
        return ops.conv(inputs, kernel, strides, padding)
    if _has_own_kernel(keras.backend.standardize_dtype(inputs.dtype)):
        import tensorflow as tf

        return tf.nn.conv2d(inputs, kernel, strides, padding.upper())
    inside, filters = kernel.shape[-2:]
    blocks = np.kron(np.eye(layer.groups), np.ones((inside, filters // layer.groups)))
    whole = ops.tile(kernel, (1, 1, layer.groups, 1)) * ops.cast(blocks, kernel.dtype)
    return ops.conv(inputs, whole, strides, padding)
