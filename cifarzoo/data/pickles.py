"""The official python archives' pickles, read without running anything that they ask for.

A pickle may name any importable function and have it called. Here the few names that NumPy's own pickles use become
small stand-ins that understand one-dimensional and two-dimensional arrays of integers; every other name is an error.
No NumPy code sees a state that came from the file: the bytes are checked first and wrapped afterwards.
"""

import io
import math
import pickle
import pickletools

import numpy as np

DTYPES = ("u1", "i4", "i8")


class _ArrayType:
    """`numpy.ndarray` as an argument; calling it is not part of any array's pickle."""


class _Dtype:
    """`numpy.dtype`: its name, checked; what else the pickle sets (byte order, fields) must say little-endian, none."""

    def __init__(self, name, align=False, copy=False):
        name = name.decode("latin1") if isinstance(name, bytes) else name
        if name not in DTYPES:
            raise pickle.UnpicklingError(f"an array of dtype {name!r}; a CIFAR batch has {', '.join(DTYPES)}")
        self.name = name

    def __setstate__(self, state):
        order, subarray, names, fields = state[1:5]
        if order not in ("|", "<", b"|", b"<") or (subarray, names, fields) != (None, None, None):
            raise pickle.UnpicklingError(f"an array of an unusual dtype: {state!r}")


class _Array:
    """`numpy.ndarray` once it has its state: `array` is what the pickle holds."""

    array: np.ndarray | None = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        self.array = _wrap(data, dtype, shape, "F" if fortran else "C")


def _wrap(data, dtype, shape, order):
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("an array without a dtype or without bytes")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r}")
    if len(data) != math.prod(shape) * int(dtype.name[1]):
        raise pickle.UnpicklingError(f"an array of shape {shape} and dtype {dtype.name} in {len(data):,} bytes")
    return np.frombuffer(data, "<" + dtype.name).reshape(shape, order=order)


def _reconstruct(kind, shape, typecode):
    """`numpy.core.multiarray._reconstruct`: an empty array that waits for its state."""
    if kind is not _ArrayType:
        raise pickle.UnpicklingError("an array that is not a numpy.ndarray")
    return _Array()


def _from_buffer(data, dtype, shape, order):
    """`numpy.core.numeric._frombuffer`: a whole array, as pickle protocol 5 has it."""
    array = _Array()
    array.array = _wrap(data, dtype, shape, order)
    return array


def _encode(text, encoding):
    """`_codecs.encode`: how Python 3 writes bytes in protocol 2, always through latin1."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}; pickle itself writes latin1")
    return text.encode("latin1")


ALLOWED = {
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR batch needs") from None


def _check_sizes(data):
    """Refuse lengths and memo indices that a pickle this long cannot have: unpickling takes the memory first."""
    for opcode, argument, _ in pickletools.genops(data):  # which compares each length with the bytes that are left
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(data):
            raise pickle.UnpicklingError(f"a memo entry {argument:,} in {len(data):,} bytes")


def read_batch(data: bytes) -> dict[str, np.ndarray | list]:
    """The dictionary of a pickled CIFAR batch: text keys; arrays, lists, numbers and strings as values.

    Python 2's strings (the official files have them) come as bytes, except in keys.

    Raises:
        pickle.UnpicklingError: whatever is wrong with it.
    """
    try:
        _check_sizes(data)
        batch = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a broken pickle fails in any way there is, from EOFError to MemoryError
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from None
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError(f"a {type(batch).__name__} in place of a dictionary")
    items = ((key.decode("latin1") if isinstance(key, bytes) else key, value) for key, value in batch.items())
    return {key: value.array if isinstance(value, _Array) else value for key, value in items}
