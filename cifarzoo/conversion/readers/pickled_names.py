"""What a pickle of tensors may name besides tensors: containers, NumPy's arrays and numbers, and plain attributes."""

import math
import re
from typing import Any

import numpy as np

from cifarzoo.conversion.readers.pickles import damaged
from cifarzoo.errors import WeightsError
from cifarzoo.pickled import StandIn, checked_key, shown

PLAIN_DTYPE = re.compile("b1|[iu][1248]|f[248]|c8|c16|[SU][0-9]{1,6}")


class PickledDtype:
    """Stands for `numpy.dtype`."""

    def __init__(self, name: Any, *_flags: Any):
        if not isinstance(name, str) or not PLAIN_DTYPE.fullmatch(name):
            text = name if isinstance(name, str) else shown(name)
            raise WeightsError(f"contains a NumPy array of dtype {text:.40}; expected plain numbers or text")
        self.dtype: np.dtype[Any] = np.dtype(name)

    def set_state(self, state: Any) -> None:
        """Set the byte order; a dtype with fields is an error."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise damaged("has a NumPy dtype with fields")
        order = _text(state[1])
        if order not in ("<", ">", "|", "="):
            raise damaged("has a NumPy dtype of an unknown byte order")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)

    def array(self, data: Any, shape: Any, order: Any = "C") -> np.ndarray:
        """Return an array over bytes of exactly the right length."""
        data = data.encode("latin1") if isinstance(data, str) else data  # Python 2's bytes
        if not isinstance(data, (bytes, bytearray)) or not is_shape(shape) or order not in ("C", "F"):
            raise damaged("has a NumPy array without a shape or without bytes")
        if math.prod(shape) * self.dtype.itemsize != len(data):
            raise damaged(f"has a NumPy array of the shape {shape!s:.80} of {self.dtype} in {len(data):,} bytes")
        return np.frombuffer(bytes(data), self.dtype).reshape(shape, order=order)


class PickledArray:
    """Stands for a `numpy.ndarray` before it has its state; `array` is None until then."""

    array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        """Set shape, dtype and values."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], PickledDtype):
            raise damaged("has a NumPy array without a dtype")
        _, shape, dtype, is_fortran, data = state
        self.array = dtype.array(data, shape, "F" if is_fortran is True else "C")


class Attributes(dict):
    """Stands for an object that is nothing but its attributes."""

    def set_state(self, state: Any) -> None:
        """Set the attributes."""
        if not isinstance(state, dict):
            raise damaged("gives an object attributes that are not a dictionary")
        self.update(state)


def is_shape(value: Any) -> bool:
    """Whether a value is a tuple of at most 32 natural numbers, each below 2^48."""
    if not isinstance(value, tuple) or len(value) > 32:
        return False
    return all(type(side) is int and 0 <= side < 2**48 for side in value)


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value


def _reconstruct(*_arguments: Any) -> PickledArray:
    return PickledArray()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    if not isinstance(dtype, PickledDtype):
        raise damaged("has a NumPy array without a dtype")
    result = PickledArray()
    result.array = dtype.array(data, shape, order)
    return result


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, PickledDtype):
        raise damaged("has a NumPy number without a dtype")
    return dtype.array(data, ()).item()


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    if isinstance(items, dict):
        return dict(items)
    result = {}
    for pair in _list(items):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise damaged("has a dictionary without keys and values")
        result[checked_key(pair[0])] = pair[1]
    return result


def _default_dictionary(_factory: Any = None, items: Any = ()) -> dict[Any, Any]:
    return _dictionary(items)


def _list(items: Any = ()) -> list[Any]:
    if not isinstance(items, (list, tuple)):
        raise damaged("has a collection without members")
    return list(items)


def _encode(text: Any, encoding: Any) -> bytes:
    """Protocol 2 writes bytes as text in latin1."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise damaged("has bytes in an unknown encoding")
    return text.encode("latin1")


def _attributes(*arguments: Any) -> Attributes:
    if arguments:
        raise damaged("gives arguments to an object that has only attributes")
    return Attributes()


def _with_numpy(names: dict[str, StandIn | None]) -> dict[str, StandIn | None]:
    """Add the names of NumPy 2 to those of NumPy 1."""
    return names | {name.replace("numpy.core.", "numpy._core."): stand_in for name, stand_in in names.items()}


NAMES = _with_numpy(
    {
        "collections.OrderedDict": _dictionary,
        "collections.Counter": _dictionary,
        "collections.defaultdict": _default_dictionary,
        "builtins.dict": _dictionary,
        "builtins.list": _list,
        "builtins.set": _list,
        "builtins.frozenset": _list,
        **dict.fromkeys(("builtins.int", "builtins.float", "builtins.str", "builtins.bool")),
        "argparse.Namespace": _attributes,
        "types.SimpleNamespace": _attributes,
        "_codecs.encode": _encode,
        "numpy.ndarray": None,
        "numpy.dtype": PickledDtype,
        "numpy.core.multiarray._reconstruct": _reconstruct,
        "numpy.core.multiarray.scalar": _scalar,
        "numpy.core.numeric._frombuffer": _from_buffer,
    }
)

__all__ = ["NAMES", "PickledArray", "is_shape"]
