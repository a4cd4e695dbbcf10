"""Read the pickles of the official python archives without calling any function that they name.

A pickle can name any importable function and have it called. Here `cifarzoo.pickled` runs its instructions, and small
stand-ins, which understand one- and two-dimensional integer arrays, replace the few names that NumPy's own pickles use;
every other name is an error. NumPy never sees a state from the file: the bytes are checked first and wrapped
afterwards.
"""

import io
import math
import pickle
from typing import Any, Literal

import numpy as np

from cifarzoo.pickled import BYTES_PER_INSTRUCTION, MOST_INSTRUCTIONS, Name, PickleError, StandIn, Unpickler, shown

DTYPES = ("u1", "i4", "i8")


class _Dtype:
    """Stands for `numpy.dtype`: a checked name; its state must say little-endian and no fields."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False):
        name = name.decode("latin1") if isinstance(name, bytes) else name
        if name not in DTYPES:
            raise pickle.UnpicklingError(f"an array of dtype {shown(name)}; a CIFAR batch has {', '.join(DTYPES)}")
        self.name = name

    def set_state(self, state: Any) -> None:
        """Check the byte order; a dtype with fields is an error."""
        order, subarray, names, fields = state[1:5]
        if order not in ("|", "<", b"|", b"<") or (subarray, names, fields) != (None, None, None):
            raise pickle.UnpicklingError(f"an array of an unusual dtype: {shown(state)}")


class _Array:
    """Stands for a `numpy.ndarray`; `array` is set together with its state."""

    array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        """Set shape, dtype and values."""
        _, shape, dtype, fortran, data = state
        self.array = _wrap(data, dtype, shape, "F" if fortran else "C")


def _wrap(data: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("an array without a dtype or without bytes")
    is_short = isinstance(shape, tuple) and len(shape) <= 2
    if not is_short or not all(isinstance(n, int) and 0 <= n < 2**48 for n in shape):
        raise pickle.UnpicklingError(f"an array of shape {shown(shape)}")
    if len(data) != math.prod(shape) * int(dtype.name[1]):
        raise pickle.UnpicklingError(f"an array of shape {shape} and dtype {dtype.name} in {len(data):,} bytes")
    return np.frombuffer(data, "<" + dtype.name).reshape(shape, order=order)


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> _Array:
    """Stands for `numpy.core.multiarray._reconstruct`, which makes an array without a state."""
    if kind != Name("numpy.ndarray"):
        raise pickle.UnpicklingError("an array that is not a numpy.ndarray")
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """Stands for `numpy.core.numeric._frombuffer`, which pickle protocol 5 uses for a complete array."""
    array = _Array()
    array.array = _wrap(data, dtype, shape, order)
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands for `_codecs.encode`, with which Python 3 writes bytes in protocol 2, always through latin1."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"bytes encoded as {shown(encoding)}; pickle itself writes latin1")
    return text.encode("latin1")


STAND_INS: dict[str, StandIn | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
}


def _refusal(_verb: str, name: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"it asks for {name}, which no CIFAR batch needs")


def read_batch(data: bytes) -> dict[str, Any]:
    """Return the dictionary of a pickled CIFAR batch: text keys; arrays, lists, numbers and strings as values.

    Python 2's strings, which the official files contain, become bytes, except in keys.

    Raises:
        pickle.UnpicklingError: The pickle is invalid, or is not the dictionary of a batch.
    """
    # The pixels pass through at most two stand-ins: `_encode` and `_Array.set_state`.
    most_instructions = MOST_INSTRUCTIONS + 2 * len(data) // BYTES_PER_INSTRUCTION
    unpickler = Unpickler(STAND_INS, _refusal, most_instructions=most_instructions, keep_bytes=True)
    try:
        batch = unpickler.load(io.BytesIO(data))
    except pickle.UnpicklingError:
        raise
    except PickleError as error:
        raise pickle.UnpicklingError(f"a pickle that {error}") from None
    except Exception as error:  # a broken pickle can raise anything from EOFError to MemoryError
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from None
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError(f"a {type(batch).__name__} instead of a dictionary")
    items = ((key.decode("latin1") if isinstance(key, bytes) else key, value) for key, value in batch.items())
    return {key: value.array if isinstance(value, _Array) else value for key, value in items}
