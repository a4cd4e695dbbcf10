"""Builders of the zoo whose random layers draw the same numbers on every backend; an experiment's `module`.

Backends derive different random numbers from the same seed. Importing this file replaces them with a formula of the
seed generator's state, so import it only in a separate process.
"""

import keras
import tiny_models
from keras import ops

from cifarzoo.models import registry


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    """Return fractions of 10,007, exact in float64, that differ by draw, position in the batch and generator."""
    first, second = (ops.cast(part, "float64") for part in ops.unstack(seed.next()))
    place = ops.reshape(ops.cast(ops.arange(shape[0]), "float64"), (-1,) + (1,) * (len(shape) - 1))
    fraction = ops.mod(ops.mod(first, 10_007) * 7_919 + second * 3_571 + place * 1_283, 10_007) / 10_007
    return ops.cast(minval + (maxval - minval) * fraction, dtype)


keras.random.uniform = uniform


def __getattr__(name):
    """Return the builder of this name from tiny_models or from the zoo."""
    if name.startswith("tiny_"):
        return getattr(tiny_models, name)
    if name.startswith("cifar_"):
        return registry.get(name).factory
    raise AttributeError(name)


def smooth(model):
    """Return a copy with softplus for ReLU, so that rounding cannot switch a unit and make its gradient jump."""

    def copy(layer):
        if isinstance(layer, keras.layers.ReLU):
            return keras.layers.Activation("softplus", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=copy)


def smooth_resnet20(classes=10):
    """ResNet-20 with softplus for ReLU."""
    return smooth(registry.get("cifar_resnet20").factory(classes=classes))


def smooth_bottleneck_resnet29(classes=10):
    """A preactivated ResNet-29 of bottlenecks with softplus for ReLU."""
    arguments = {"depth": 29, "bottleneck": True, "block_type": "preactivated", "shortcut_type": "B"}
    return smooth(registry.get("cifar_resnet").factory(**arguments, classes=classes))


def resnext11_2x4d(classes=10):
    """ResNeXt-11 with two groups of four channels."""
    from cifarzoo.models.resnext import resnext

    return resnext(11, 2, 4, **tiny_models.options("resnext11_2x4d", classes))
