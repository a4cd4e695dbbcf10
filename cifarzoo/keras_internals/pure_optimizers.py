"""Keras' optimizers as pure functions on TensorFlow.

Keras' optimizers for TensorFlow assign to `tf.Variable`s through `merge_call`, so they compute nothing in a
`StatelessScope`; `stateless_apply` raises. The base class has the same methods for any backend, and those work there.
Replicas need no `merge_call`, because the engine reduces the gradients before the update.
"""

import functools
from typing import Any

import keras

from cifarzoo.errors import ExperimentError
from cifarzoo.keras_internals.support import internal, parameters, private_module

# The methods of Keras' optimizers for TensorFlow that touch variables, with the parameters that callers pass.
_METHODS = {
    "add_variable_from_reference": ["self", "reference_variable", "name", "initializer"],
    "assign": ["self", "variable", "value"],
    "assign_add": ["self", "variable", "value"],
    "assign_sub": ["self", "variable", "value"],
    "_var_key": ["self", "variable"],
    "_apply_weight_decay": ["self", "variables"],
    "_backend_update_step": ["self", "grads", "trainable_variables", "learning_rate"],
    "_clip_by_norm": ["self", "values", "axes"],
}


@internal("optimizers as pure functions", without="of the optimizers, TensorFlow has SGD only")
def supported() -> bool:
    """Whether the base class has every method that Keras replaces for TensorFlow."""
    base, replaced = _classes()
    unknown = {
        name
        for name, value in vars(replaced).items()
        if callable(value) and hasattr(base, name) and not name.startswith("__")
    } - {"stateless_apply", "_overwrite_model_variables_with_average_value", "_backend_increment_gradient_accumulators"}
    return unknown == set(_METHODS) and all(parameters(getattr(base, name)) == _METHODS[name] for name in _METHODS)


def _classes():
    base = private_module("optimizers.base_optimizer").BaseOptimizer
    return base, private_module("backend.tensorflow.optimizer").TFOptimizer


@functools.cache
def pure(optimizer: Any) -> Any:
    """Return a class of optimizers that compute in a `StatelessScope` what the given class computes in variables.

    Raises:
        ExperimentError: this Keras version does not support it on the active backend.
    """
    if keras.backend.backend() != "tensorflow":
        return optimizer
    if not supported():
        raise ExperimentError(
            f"train_parameters.optimizer: {optimizer.__name__} needs backend: jax with Keras {keras.__version__}"
        )
    base, replaced = _classes()
    # As a subclass of `replaced`, it comes just before it in the order of inheritance, and so after the methods of the
    # optimizer, which may call it through `super`.
    restored = type("_Restored", (replaced,), {name: vars(base)[name] for name in _METHODS})
    return type(optimizer.__name__, (optimizer, restored), {})
