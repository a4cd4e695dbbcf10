"""Restore the caller's random generators, which `keras.utils.set_random_seed` reseeds."""

import contextlib
import random
import sys
from typing import Any

import numpy as np

from cifarzoo.keras_internals.support import private_module

KERAS_ATTRIBUTES = ("global_random_seed", "global_seed_generator")


@contextlib.contextmanager
def kept_generators():
    """On exit, restore the global generators of Python, NumPy, Keras and TensorFlow.

    Keras and TensorFlow have no public way to read theirs. If a version stores them differently, they stay reseeded.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    keras = _keras_generators()
    tensorflow = _tensorflow_generator()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        with contextlib.suppress(ImportError, AttributeError):
            for name, value in keras.items():
                private_module("backend.common.global_state").set_global_attribute(name, value)
        if tensorflow:
            context = _tensorflow_context()
            context._seed, context._rng = tensorflow


def _keras_generators() -> dict[str, Any]:
    """Return Keras' global seed and generator; both are None if Keras has not been imported."""
    if "keras" not in sys.modules:
        return dict.fromkeys(KERAS_ATTRIBUTES)
    with contextlib.suppress(ImportError, AttributeError):
        get = private_module("backend.common.global_state").get_global_attribute
        return {name: get(name) for name in KERAS_ATTRIBUTES}
    return {}


def _tensorflow_context():
    from tensorflow.python.eager import context

    return context.context()


def _tensorflow_generator() -> tuple[Any, Any] | None:
    """Return TensorFlow's global seed and its generator of operation seeds; None if it has not been imported."""
    if "tensorflow" not in sys.modules:
        return None
    try:
        context = _tensorflow_context()
        return context._seed, context._rng
    except (ImportError, AttributeError):
        return None
