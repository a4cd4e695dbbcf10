"""Keep Keras and TensorBoard from importing TensorFlow on other backends: seconds and memory that nothing uses."""

import contextlib
import sys
import types

from cifarzoo.keras_internals.support import internal, private_module

# TensorBoard uses its own stub of TensorFlow if a module of this name exists.
NO_TENSORFLOW = "tensorboard.compat.notf"


@internal("running without TensorFlow", without="the first run also imports TensorFlow where it is installed")
def supported() -> bool:
    """Whether Keras asks the flag that is set here before it imports TensorFlow."""
    return "_available" in vars(private_module("utils.module_utils").tensorflow)


@contextlib.contextmanager
def without_tensorflow():
    """Make TensorFlow look uninstalled in the context, unless it is the backend or already imported."""
    import keras

    if keras.backend.backend() == "tensorflow" or "tensorflow" in sys.modules or not supported.or_warn():
        yield
        return
    lazy = private_module("utils.module_utils").tensorflow
    available, lazy._available = lazy._available, False
    sys.modules.setdefault(NO_TENSORFLOW, types.ModuleType(NO_TENSORFLOW))
    try:
        yield
    finally:
        lazy._available = available
        sys.modules.pop(NO_TENSORFLOW, None)
