"""Find out which internals this Keras version has, and warn once about each one that it lacks."""

import importlib
import inspect
import logging
from collections.abc import Callable

logger = logging.getLogger("cifarzoo")

INTERNALS: dict[str, "Internal"] = {}


class Internal:
    """A part of this package that some Keras versions may not support. Calling it runs its probe.

    Args:
        name: What the part does, as the warning names it.
        without: What happens where Keras does not support it, as the warning says it.
        probe: Returns whether Keras has everything that the part uses. An exception counts as False.
    """

    def __init__(self, name: str, without: str, probe: Callable[[], bool]):
        self.name, self.without, self.probe, self._warned = name, without, probe, False
        self.__doc__ = probe.__doc__

    def __call__(self) -> bool:
        """Whether this Keras version supports the part."""
        try:
            return bool(self.probe())
        except Exception:  # a probe touches whatever another Keras has in its place
            return False

    def or_warn(self) -> bool:
        """Return what a call returns, and log the first False of a process as a warning."""
        supported = self()
        if not supported and not self._warned:
            self._warned = True
            import keras

            logger.warning("Keras %s does not support %s: %s", keras.__version__, self.name, self.without)
        return supported


def internal(name: str, *, without: str) -> Callable[[Callable[[], bool]], Internal]:
    """Register the decorated probe in `INTERNALS`; see `Internal` for the arguments."""

    def register(probe):
        return INTERNALS.setdefault(name, Internal(name, without, probe))

    return register


def private_module(path: str):
    """Import a module of Keras' private tree, such as "backend.common.dtypes".

    Raises:
        ImportError: this Keras version has no such module.
    """
    return importlib.import_module(f"keras.src.{path}")


def parameters(function: Callable) -> list[str]:
    """Return the names of a function's parameters, to compare with those that are relied on."""
    return list(inspect.signature(function).parameters)
