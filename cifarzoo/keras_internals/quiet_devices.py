"""Let TensorFlow look for devices without its message that CUDA drivers are missing or do not work.

It looks when it first lists devices or runs its first operation.
"""

import functools

from cifarzoo.keras_internals.redirection import quiet
from cifarzoo.keras_internals.support import internal

SEARCHES = ("TF_ListPhysicalDevices", "TFE_NewContext")


def _module():
    from tensorflow.python import pywrap_tfe

    return pywrap_tfe


@internal("a quiet search for devices", without="TensorFlow's messages about CUDA are shown")
def supported() -> bool:
    """Whether TensorFlow still has the functions in `SEARCHES`."""
    return all(callable(getattr(_module(), name)) for name in SEARCHES)


def hide_search() -> None:
    """Silence the first call of each function that looks for devices; the call restores the function."""
    if not supported():  # no warning: TensorFlow's own messages then appear
        return
    module = _module()
    for name in SEARCHES:
        setattr(module, name, _quiet_once(module, name, getattr(module, name)))


def _quiet_once(module, name, function):
    @functools.wraps(function)
    def quietly(*args):
        setattr(module, name, function)
        with quiet():
            return function(*args)

    return quietly
