"""PyTorch's tensors as pickles describe them: parts of storages. They become arrays after all sizes are checked."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifarzoo.conversion.readers.pickled_names import NAMES, is_shape
from cifarzoo.conversion.readers.pickles import damaged
from cifarzoo.errors import WeightsError
from cifarzoo.pickled import Name, StandIn

# NumPy's dtype of each storage. NumPy has no bfloat16, the upper half of a float32.
DTYPES = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    "BFloat16": "bfloat16",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "bool",
}
ELEMENTS = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "bfloat16",
    **{f"{kind}{8 * size}": f"<{kind[0]}{size}" for kind in ("int", "uint") for size in (1, 2, 4, 8)},
    "bool": "bool",
}
# Tensors may share storages, so that a file may expand, but not without bound.
ALWAYS_ALLOWED = 2**26
EXPANSION = 8
UNTYPED = "bytes"  # the dtype of storages whose tensors have dtypes of their own


def item_size(dtype: str) -> int:
    """Return the bytes of an element of a storage."""
    return {"bfloat16": 2, UNTYPED: 1}.get(dtype) or np.dtype(dtype).itemsize


@dataclass(frozen=True)
class Storage:
    """A run of elements in a file.

    Attributes:
        key: Its name in the file.
        dtype: A value of `DTYPES`, or UNTYPED.
        total: Number of elements in the file under this key.
        first: The first of these elements that belongs to this storage.
        length: Number of elements.
    """

    key: str
    dtype: str
    total: int
    first: int
    length: int


@dataclass(frozen=True)
class Tensor:
    """A strided part of a storage; `offset` and `stride` are in elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Memory that its array takes."""
        return math.prod(self.shape) * max(item_size(self.dtype), 4 if self.dtype == "bfloat16" else 1)


def persistent_storage(value: Any) -> Storage:
    """Return the storage that a persistent id describes.

    It is ("storage", type, key, device, number of elements), in the legacy format followed by None or the view
    (key, first element, number of elements).

    Raises:
        WeightsError: it describes something else.
    """
    if not isinstance(value, tuple) or len(value) not in (5, 6) or value[0] != "storage":
        raise damaged("refers to data that is not a storage")
    _, kind, key, _, total, *view = value
    if not isinstance(kind, Name) or not isinstance(key, (str, int)) or not is_shape((total,)):
        raise damaged("describes a storage without a type, a name or a length")
    first, length = 0, total
    if view and view[0] is not None:
        if not isinstance(view[0], tuple) or len(view[0]) != 3 or not is_shape(view[0][1:]):
            raise damaged("describes a view that is not one")
        _, first, length = view[0]
        if first + length > total:
            raise damaged(f"describes a view of elements {first:,} to {first + length:,} of {total:,}")
    dtype = STORAGES.get(kind.text)
    if dtype is None:
        raise WeightsError(f"uses {kind.text} as a storage")
    return Storage(str(key), dtype, total, first, length)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_rest: Any) -> Tensor:
    if not isinstance(storage, Storage) or storage.dtype == UNTYPED:
        raise damaged("has a tensor without a storage")
    return _tensor(storage, storage.dtype, offset, shape, stride)


def _rebuild_tensor_v3(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> Tensor:
    """Newer dtypes have storages of bytes."""
    dtype = rest[2]
    elements = ELEMENTS.get(dtype.text.removeprefix("torch.")) if isinstance(dtype, Name) else None
    if not isinstance(storage, Storage) or storage.dtype != UNTYPED or elements is None:
        raise damaged("has a tensor without a storage or a dtype")
    size = item_size(elements)
    if storage.total % size or storage.length != storage.total:
        raise damaged(f"has a storage of {storage.total:,} bytes for {elements}")
    whole = Storage(storage.key, elements, storage.total // size, 0, storage.total // size)
    return _tensor(whole, elements, offset, shape, stride)


def _tensor(storage: Storage, dtype: str, offset: Any, shape: Any, stride: Any) -> Tensor:
    if not is_shape(shape) or not is_shape(stride) or len(shape) != len(stride) or not is_shape((offset,)):
        raise damaged("has a tensor without a shape or strides")
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.length:
        raise damaged(f"claims the shape {shape!s:.80} with strides {stride!s:.80} in {storage.length:,} elements")
    return Tensor(storage, dtype, offset, shape, stride)


def _parameter(tensor: Any, *_rest: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise damaged("has a parameter that is not a tensor")
    return tensor


def _size(sides: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sides, (list, tuple)):
        raise damaged("has a torch.Size without sides")
    return tuple(sides)


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not (index is None or is_shape((index,))):
        raise damaged("has a device without a name or a number")
    return f"{kind:.40}" if index is None else f"{kind:.40}:{index}"


def _from_type(function: Any, _kind: Any, arguments: Any, _state: Any) -> Tensor:
    """Tensors with attributes of their own."""
    stand_in = TORCH_NAMES.get(function.text) if isinstance(function, Name) else None
    if stand_in not in (_rebuild_tensor, _rebuild_tensor_v3, _parameter) or not isinstance(arguments, tuple):
        raise damaged("has a tensor that is made by something else")
    return stand_in(*arguments)


STORAGES = {
    **{f"torch.{kind}Storage": dtype for kind, dtype in DTYPES.items()},
    **{f"torch.cuda.{kind}Storage": dtype for kind, dtype in DTYPES.items()},
    "torch.storage.UntypedStorage": UNTYPED,
}
TORCH_NAMES: dict[str, StandIn | None] = {
    **NAMES,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _size,
    "torch.device": _device,
    **dict.fromkeys(("torch.Tensor", "torch.nn.parameter.Parameter", *STORAGES)),
    **dict.fromkeys(f"torch.{name}" for name in ELEMENTS),
}


class Arrays:
    """Makes arrays of tensors.

    Args:
        contents: Returns the bytes of a storage by its key and its length in bytes.
        size: Size of the file in bytes, which bounds what the tensors may claim.
    """

    def __init__(self, contents: Callable[[str, int], Any], size: int):
        self._contents = contents
        self._left = max(ALWAYS_ALLOWED, EXPANSION * size)
        self._size = size
        self._buffers: dict[str, Any] = {}
        self._made: dict[int, tuple[Tensor, np.ndarray]] = {}

    def __call__(self, tensor: Tensor) -> np.ndarray:
        """Return the array of a tensor: the same one each time, in its dtype, or float32 for bfloat16.

        Raises:
            WeightsError: the storage is missing or too short, or the file claims too much.
        """
        if id(tensor) in self._made:
            return self._made[id(tensor)][1]
        self._left -= tensor.bytes
        if self._left < 0:
            raise WeightsError(f"its tensors claim too many bytes for a file of {self._size:,}")
        array = self._array(tensor)
        self._made[id(tensor)] = tensor, array  # the tensor stays, so that no other gets its id
        return array

    def _array(self, tensor: Tensor) -> np.ndarray:
        dtype = np.dtype("<u2" if tensor.dtype == "bfloat16" else tensor.dtype)
        if 0 in tensor.shape:
            elements = np.empty(tensor.shape, dtype)
        else:
            storage = tensor.storage
            buffer = self._buffer(storage.key, storage.total * dtype.itemsize)
            flat = np.frombuffer(buffer, dtype, storage.length, storage.first * dtype.itemsize)[tensor.offset :]
            strides = tuple(step * dtype.itemsize for step in tensor.stride)
            elements = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
            elements = np.ascontiguousarray(elements).reshape(tensor.shape)
        if tensor.dtype == "bfloat16":
            return (elements.astype(np.uint32) << 16).view(np.float32)
        return elements

    def _buffer(self, key: str, length: int) -> Any:
        if key not in self._buffers:
            self._buffers[key] = self._contents(key, length)
        buffer = self._buffers[key]
        if len(buffer) != length:
            raise WeightsError(f"damaged: storage {key:.80} has {len(buffer):,} bytes instead of {length:,}")
        return buffer
