"""Read TensorFlow checkpoints (`tf.train.Checkpoint`, `save_weights` of Keras 2) without TensorFlow.

A checkpoint is PREFIX.index and PREFIX.data-NUMBER-of-COUNT. The index is a table of protocol buffers
(`tensorflow/core/protobuf/tensor_bundle.proto`) by the names of the tensors: the one of the empty name describes the
whole, each other one the dtype, shape, position and checksum of a tensor.

TensorFlow's own reader aborts the process where an index claims an unknown dtype, too many dimensions, or a product of
sides beyond 2^63.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.conversion.readers import leveldb_table
from cifarzoo.conversion.readers.crc32c import crc32c, masked
from cifarzoo.conversion.readers.leveldb_table import varint
from cifarzoo.errors import WeightsError

LARGEST_INDEX = 2**24
DATA = re.compile(r"\.(index|data-[0-9]{5}-of-[0-9]{5})$")
# By the numbers of types.proto.
DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    10: "bool",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
BFLOAT16, TEXT = 14, 7


@dataclass
class _Entry:
    """What the index says about a tensor."""

    dtype: int = 0
    shape: list[int] = field(default_factory=list)
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0


def index_of(path: Path) -> Path | None:
    """Return the index of the checkpoint that a path (prefix, index or data file) belongs to, None if there is none."""
    if path.is_file() and not DATA.search(path.name):
        return None  # a file of its own, whatever is beside it
    index = path.with_name(DATA.sub("", path.name) + ".index")
    return index if index.is_file() else None


def files_of(index: Path) -> list[Path]:
    """Return the index of a checkpoint and its data files; one without tensors may be missing.

    Raises:
        WeightsError: the index is damaged. OSError: it cannot be read.
    """
    shards = _shards(*next(iter(leveldb_table.items(_index(index)))))
    data = (_data_file(index, shard, shards) for shard in range(shards))
    return [index, *(file for file in data if file.is_file())]


def _index(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_INDEX:
        raise WeightsError(f"the index has more than {LARGEST_INDEX:,} bytes")
    return path.read_bytes()


def _data_file(index: Path, shard: int, shards: int) -> Path:
    return index.with_name(f"{index.name.removesuffix('.index')}.data-{shard:05d}-of-{shards:05d}")


def read(path: Path) -> Checkpoint:
    """Return the tensors of a checkpoint; texts, such as the graph of objects, are skipped.

    Args:
        path: The .index file.

    Raises:
        WeightsError: a file is missing or damaged, or a tensor is stored in parts. OSError: a file cannot be read.
    """
    entries: dict[str, _Entry] = {}
    shards = None
    for key, value in leveldb_table.items(_index(path)):
        if shards is None:
            shards = _shards(key, value)
        elif not (name := key.decode("utf-8", "replace")) or name in entries:
            raise WeightsError(f"damaged: the index has {name or 'its header'} twice")
        else:
            entries[name] = _entry(name, value)
    sizes: dict[Path, int] = {}
    left: dict[Path, int] = {}  # tensors do not overlap
    arrays = {}
    for name, entry in entries.items():
        if entry.dtype == TEXT:
            continue
        data = _data_file(path, entry.shard, shards or 0)
        if data not in sizes:
            sizes[data] = left[data] = _size(data)
        left[data] -= entry.size
        if left[data] < 0 or entry.offset + entry.size > sizes[data]:
            claim = f"{name} takes {entry.size:,} at {entry.offset:,}"
            raise WeightsError(f"damaged, or {data.name} is truncated: it has {sizes[data]:,} bytes, and {claim}")
        arrays[name] = _array(name, entry, data)
    if not arrays:
        raise WeightsError("contains no tensors")
    return Checkpoint("tensorflow", arrays)


def _size(data: Path) -> int:
    try:
        return data.stat().st_size
    except FileNotFoundError:
        raise WeightsError(f"{data.name} is missing beside it") from None


def _fields(name: str, message: bytes) -> list[tuple[int, int | bytes]]:
    """Return the numbers of a protocol buffer's fields with their values."""
    fields: list[tuple[int, int | bytes]] = []
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = varint(message, position)
            fields.append((number, value))
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length, position = varint(message, position)
        if length is None or position + length > len(message):
            raise WeightsError(f"damaged: the index describes {name} by {len(message)} bytes that end too early")
        part = message[position : position + length]
        fields.append((number, part if kind == 2 else int.from_bytes(part, "little")))
        position += length
    return fields


def _shards(key: bytes, message: bytes) -> int:
    """Return the number of data files."""
    values = dict(_fields("the checkpoint", message))
    count = values.get(1, 0)
    if key or not isinstance(count, int) or not 0 < count < 100_000:
        raise WeightsError("damaged: the index does not say how many data files there are")
    if values.get(2, 0):
        raise WeightsError("was written by a big-endian machine; save it again on another")
    return count


def _entry(name: str, message: bytes) -> _Entry:
    entry = _Entry()
    plain = {1: "dtype", 3: "shard", 4: "offset", 5: "size", 6: "checksum"}
    for number, value in _fields(name, message):
        if number in plain and isinstance(value, int):
            setattr(entry, plain[number], value)
        elif number == 2 and isinstance(value, bytes):
            entry.shape = _shape(name, value)
        elif number == 7:
            raise WeightsError(f"{name} is stored in parts, as tf.compat.v1 partitions variables")
        else:
            raise WeightsError(f"damaged: the index describes {name} by a field {number}")
    return entry


def _shape(name: str, message: bytes) -> list[int]:
    sides: list[int] = []
    for number, dimension in _fields(name, message):
        if number != 2 or not isinstance(dimension, bytes) or len(sides) == 32:
            raise WeightsError(f"damaged: the index has no shape for {name}")
        side = dict(_fields(name, dimension)).get(1, 0)
        if not isinstance(side, int) or side >= 2**48:
            raise WeightsError(f"damaged: {name} claims a side of {side!s:.40}")
        sides.append(side)
    return sides


def _array(name: str, entry: _Entry, path: Path) -> np.ndarray:
    dtype = np.dtype("<u2") if entry.dtype == BFLOAT16 else np.dtype(DTYPES.get(entry.dtype, "V"))
    if not dtype.itemsize:
        raise WeightsError(f"{name} has TensorFlow's dtype {entry.dtype}; expected numbers")
    if math.prod(entry.shape) * dtype.itemsize != entry.size:
        raise WeightsError(f"damaged: {name} claims the shape {tuple(entry.shape)!s:.80} in {entry.size:,} bytes")
    with open(path, "rb") as file:
        file.seek(entry.offset)
        data = file.read(entry.size)
    if masked(crc32c(data)) != entry.checksum:
        raise WeightsError(f"damaged: the checksum of {name} is wrong")
    array = np.frombuffer(data, dtype).reshape(entry.shape)
    if entry.dtype == BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
