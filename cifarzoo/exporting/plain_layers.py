"""Replace layers that TensorFlow's converter to ONNX cannot translate by others that compute the same.

The zoo's models have none of them, but models of the user's own, and `.keras` files of earlier versions, may.
"""

import math

import keras
import numpy as np
from keras import ops

from cifarzoo.keras_internals.grouped_convolution import use_grouped_kernel
from cifarzoo.keras_internals.model_graph import all_layers


def with_plain_layers(model: keras.Model) -> keras.Model:
    """Return the model itself, or a copy with its weights in which layers are replaced.

    The constants of `Normalization` would become inputs of the ONNX file; "gelu" needs erfc, which ONNX lacks; and the
    converter does not enter the functions that grouped convolutions are.

    Args:
        model: A functional or sequential model; any other is returned as it is.
    """
    if not any(map(_is_replaced, all_layers(model))) or not hasattr(model, "inputs"):
        return model
    copy = keras.models.clone_model(model, clone_function=_replacement, recursive=True)
    normalizing = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.Normalization)]
    gone = {id(variable) for layer in normalizing for variable in layer.weights}
    kept = [variable for variable in model.weights if id(variable) not in gone]
    for target, source in zip(copy.weights, kept, strict=True):
        target.assign(source)
    return copy


def _is_replaced(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Normalization) or _has_gelu(layer) or _is_grouped(layer)


def _has_gelu(layer: keras.Layer) -> bool:
    return getattr(layer, "activation", None) is keras.activations.gelu


def _is_grouped(layer: keras.Layer) -> bool:
    """Whether a layer is a grouped convolution that Keras still computes in its own way."""
    plain = isinstance(layer, keras.layers.Conv2D) and layer.groups > 1 and tuple(layer.dilation_rate) == (1, 1)
    return plain and "convolution_op" not in vars(layer)


def _replacement(layer: keras.Layer) -> keras.Layer:
    if isinstance(layer, keras.layers.Normalization):
        scale = 1 / np.sqrt(np.asarray(layer.variance, "float64").ravel())
        offset = -np.asarray(layer.mean, "float64").ravel() * scale
        if layer.invert:
            scale, offset = 1 / scale, -offset / scale
        return keras.layers.Rescaling(scale.tolist(), offset.tolist(), name=layer.name, dtype=layer.dtype_policy)
    copy = layer.__class__.from_config(layer.get_config())
    if _has_gelu(copy):
        copy.activation = _gelu
    if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
        use_grouped_kernel(copy)
    return copy


def _gelu(x):
    return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))
