"""Read what `torch.save` writes, in its zip format and the older one, without PyTorch and without executing anything.

The zip format (`torch/serialization.py`, since PyTorch 1.6): FOLDER/data.pkl describes tensors, FOLDER/data/KEY holds
the storages. The legacy format: five pickles (a magic number, the protocol, facts about the system, the object, and the
keys of the storages in order), then for each storage its number of elements (int64) and its values, little-endian.
"""

import io
import mmap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.conversion.readers.flatten import flatten
from cifarzoo.conversion.readers.pickled_names import PickledArray
from cifarzoo.conversion.readers.pickles import TensorUnpickler
from cifarzoo.conversion.readers.tensors import TORCH_NAMES, Arrays, Storage, Tensor, item_size, persistent_storage
from cifarzoo.errors import WeightsError
from cifarzoo.npz import check_members

MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_MAGIC = MAGIC.to_bytes(10, "little")  # near the beginning
PROTOCOL = 1001
LARGEST_PICKLE = 2**26


def read_zip(path: Path) -> Checkpoint:
    """Return the content of a file in the zip format.

    Raises:
        WeightsError: the file is damaged, or contains something other than tensors, numbers and text. Exception: the
            zip is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        size = path.stat().st_size
        try:
            check_members(archive.infolist(), size)
        except ValueError as failure:
            raise WeightsError(str(failure)) from None
        members = {member.filename: member for member in archive.infolist()}
        folder = pickle_folder(members)
        if folder is None:
            raise WeightsError("damaged: the zip has no data.pkl")
        if f"{folder}byteorder" in members and _read(archive, f"{folder}byteorder", 16) != b"little":
            raise WeightsError("was written by a big-endian machine; save it again on another")

        def contents(key: str, length: int) -> bytes:
            name = f"{folder}data/{key}"
            if name not in members:
                raise WeightsError(f"damaged: {name:.100} is missing")
            if members[name].file_size != length:
                raise WeightsError(f"damaged: {name:.100} has {members[name].file_size:,} bytes instead of {length:,}")
            return archive.read(name)

        pickled = io.BytesIO(_read(archive, f"{folder}data.pkl", LARGEST_PICKLE))
        content = TensorUnpickler(TORCH_NAMES, persistent_storage).load(pickled)
        return _checkpoint(content, Arrays(contents, size))


def pickle_folder(names: Any) -> str | None:
    """Return the folder of a zip's data.pkl, with its slash, None if there is none."""
    folders = [name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    return min(folders, default=None)


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if archive.getinfo(name).file_size > limit:
        raise WeightsError(f"damaged: {name:.100} has more than {limit:,} bytes")
    return archive.read(name)


def read_legacy(path: Path) -> Checkpoint:
    """Return the content of a file in the legacy format.

    Raises:
        WeightsError: as for `read_zip`.
    """
    with open(path, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file:
        plain = TensorUnpickler({})
        if plain.load(file) != MAGIC or plain.load(file) != PROTOCOL:
            raise WeightsError("damaged: it does not begin with PyTorch's magic number and protocol")
        plain.load(file)
        storages: dict[str, Storage] = {}

        def persistent(value: Any) -> Storage:
            storage = persistent_storage(value)
            known = storages.setdefault(storage.key, storage)
            if (known.dtype, known.total) != (storage.dtype, storage.total):
                raise WeightsError(f"damaged: it describes storage {storage.key:.80} in two ways")
            return storage

        content = TensorUnpickler(TORCH_NAMES, persistent).load(file)
        keys = plain.load(file)
        positions = _positions(file, keys, storages)

        def contents(key: str, length: int) -> bytes:
            if key not in positions:
                raise WeightsError(f"damaged: storage {key:.80} is missing")
            return file[positions[key] : positions[key] + length]

        return _checkpoint(content, Arrays(contents, len(file)))


def _positions(file: mmap.mmap, keys: Any, storages: dict[str, Storage]) -> dict[str, int]:
    """Return where the values of each storage begin."""
    if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
        raise WeightsError("damaged: the list of storages is none")
    positions = {}
    position = file.tell()
    for key in map(str, keys):
        storage = storages.get(key)
        if storage is None or key in positions:
            raise WeightsError(f"damaged: storage {key:.80} belongs to no tensor, or comes twice")
        total = int.from_bytes(file[position : position + 8], "little")
        positions[key] = position + 8
        position += 8 + total * item_size(storage.dtype)
        if total != storage.total or position > len(file):
            raise WeightsError(f"damaged or truncated: storage {key:.80} has {total:,} of {storage.total:,} elements")
    return positions


def _checkpoint(content: Any, arrays: Arrays) -> Checkpoint:
    def array_of(value: Any) -> np.ndarray | None:
        if isinstance(value, Tensor):
            return arrays(value)
        if isinstance(value, PickledArray) and value.array is not None and value.array.dtype.kind in "biufc":
            return value.array
        return None

    return flatten("torch", content, array_of)
