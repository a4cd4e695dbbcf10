"""Engines: one compiled call trains many steps. `current` picks the engine module of the active Keras backend."""

import importlib
from typing import cast

from cifarzoo.errors import ExperimentError
from cifarzoo.training.engines.interface import EngineModule

# Keras backend -> the module that implements `EngineModule` on it.
MODULES = {
    "tensorflow": "cifarzoo.training.engines.tensorflow",
    "jax": "cifarzoo.training.engines.jax",
}


def current() -> EngineModule:
    """Return the engine module of the active Keras backend.

    Raises:
        ExperimentError: Keras runs on a backend without an engine.
    """
    import keras

    backend = keras.backend.backend()
    if backend not in MODULES:
        raise ExperimentError(f"backend: training runs on {' or '.join(MODULES)}, but Keras was started with {backend}")
    return cast(EngineModule, importlib.import_module(MODULES[backend]))
