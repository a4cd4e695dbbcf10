"""Count the multiply-accumulates of a model.

Papers' tables and most zoos use this convention: convolutions and linear layers count one multiply-accumulate per
product, for one 32x32 image; BatchNormalization, activations, pooling, additions and biases count nothing. (One
multiply-accumulate is two FLOPs. Zoos that also count BatchNormalization and ReLU report about 2 % more.)
"""

import math

import keras


def layer_macs(layer) -> int:
    """Return the multiply-accumulates of one call of a layer on one image; 0 for layers that do not count."""
    if isinstance(layer, keras.layers.Conv2D):
        return math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    if isinstance(layer, keras.Model):
        return sum(map(layer_macs, layer.layers))
    return 0


def macs(model) -> int:
    """Return the multiply-accumulates of a functional model on one image, nested models included."""
    return layer_macs(model)
