"""Let TensorFlow look for devices without its message that there are no CUDA drivers, or that they do not work.

It looks when it is first asked for devices or runs its first operation, wherever that is.
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
    """Whether TensorFlow still has the functions that are redirected here."""
    return all(callable(getattr(_module(), name)) for name in SEARCHES)


def hide_search() -> None:
    """Redirect the first call of each function that looks for devices, and restore the function then."""
    if not supported():  # the messages themselves say so
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
