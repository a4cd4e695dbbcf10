"""Normalize by a batch's own statistics without training: BatchNormalization as the loss in "batch" mode sees it."""

import contextlib

import keras

from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.support import internal, parameters


@internal("BatchNormalization by batch statistics", without='sharpness works with batch_norm="inference" only')
def supported() -> bool:
    """Whether BatchNormalization takes the arguments that it is called with here."""
    return parameters(keras.layers.BatchNormalization.call) == ["self", "inputs", "training", "mask"]


@contextlib.contextmanager
def batch_statistics():
    """Make every BatchNormalization that is traced in the context normalize by the statistics of its batch.

    Raises:
        ModelError: this Keras version does not support it.
    """
    if not supported():
        raise ModelError(f'batch_norm="batch" does not work with Keras {keras.__version__}; use batch_norm="inference"')
    original = keras.layers.BatchNormalization.call

    def call(self, inputs, training=None, mask=None):
        return original(self, inputs, training=True, mask=mask)

    keras.layers.BatchNormalization.call = call
    try:
        yield
    finally:
        keras.layers.BatchNormalization.call = original
