"""Write the zip format of `torch.save` without PyTorch: a dictionary of tensors.

The archive has the tensors' bytes in files of their own, and a pickle that rebuilds the dictionary from them. The
instructions of the pickle are written here one by one, as PyTorch 1.6 and later write them (protocol 2).
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cifarzoo.runs import atomic

STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}
FOLDER = "archive"


def write_state_dict(path: Path, arrays: Mapping[str, np.ndarray], extra: Mapping[str, str] | None = None) -> None:
    """Write float32 and int64 arrays as an `OrderedDict` of tensors; an existing file is replaced.

    Args:
        path: The file.
        arrays: The tensors by name.
        extra: Texts by file name, for the archive's folder "extra", which `torch.load` does not read.

    Raises:
        OSError: the file cannot be written. KeyError: an array has another dtype.
    """
    # np.require instead of ascontiguousarray, which gives numbers a dimension.
    contiguous = {name: np.require(array, array.dtype.newbyteorder("<"), "C") for name, array in arrays.items()}
    with (
        atomic.replacing(path, shared=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        _write(archive, "data.pkl", _pickle(contiguous))
        for number, array in enumerate(contiguous.values()):
            _write(archive, f"data/{number}", array.tobytes())
        _write(archive, "version", b"3\n")
        for name, text in (extra or {}).items():
            _write(archive, f"extra/{name}", text.encode())


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Without today's date, so that equal weights give equal files.
    archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}"), content)


def _pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    tensors = (_text(name) + _tensor(number, array) for number, (name, array) in enumerate(arrays.items()))
    return b"\x80\x02" + _EMPTY_DICT + b"(" + b"".join(tensors) + b"u."


_EMPTY_DICT = b"ccollections\nOrderedDict\n)R"


def _tensor(number: int, array: np.ndarray) -> bytes:
    """Return the instructions that call `_rebuild_tensor_v2` (storage, offset, size, strides, requires_grad, hooks)."""
    storage = b"ctorch\n" + STORAGES[array.dtype.name].encode() + b"\n"
    persistent = b"(" + _text("storage") + storage + _text(str(number)) + _text("cpu") + _integer(array.size) + b"tQ"
    strides = [stride // array.itemsize for stride in array.strides]
    arguments = persistent + _integer(0) + _tuple(array.shape) + _tuple(strides) + b"\x89" + _EMPTY_DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _integer(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _tuple(numbers: "tuple[int, ...] | list[int]") -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"
