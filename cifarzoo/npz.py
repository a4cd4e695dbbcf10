"""Read untrusted `.npz` files in bounded memory, without executing anything.

NumPy's own reader trusts the header: a few bytes make it allocate terabytes. Here the length of every array must match
its header before memory is allocated, and no file expands beyond `EXPANSION` times its size.
"""

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np

# Compression shrinks logits by a tenth, labels alone by much more: small files may expand to this many bytes.
ALWAYS_ALLOWED = 2**28
EXPANSION = 8
LARGEST_DIRECTORY = 2**23  # bytes of a zip's list of members: enough for 50,000; zipfile takes 3 s and 100 MB for it
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read(path: Path, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name.

    Args:
        path: The file, as `numpy.savez` or `numpy.savez_compressed` writes it.
        only: Names to read; None reads all.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is not an .npz file, is damaged, encrypted or compressed by another method, contains
            pickles, or claims to be larger than it can be. The message is one line.
    """
    with open(path, "rb") as file:
        try:
            check_directory(file)
            with zipfile.ZipFile(file) as archive:
                check_members(archive.infolist(), file.seek(0, 2))
                names = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
                return {name: _array(archive, names[name]) for name in names if only is None or name in only}
        except ValueError:
            raise
        except Exception as failure:  # damage makes zipfile and NumPy raise anything from TokenError to MemoryError
            raise ValueError(f"not an .npz file, or damaged: {_first_line(failure)}") from None


def expanded_size(path: Path) -> int:
    """Return the bytes that the arrays of a file claim, without reading them.

    Raises:
        OSError, ValueError: as `read`.
    """
    with open(path, "rb") as file:
        try:
            check_directory(file)
            with zipfile.ZipFile(file) as archive:
                check_members(archive.infolist(), file.seek(0, 2))
                return sum(member.file_size for member in archive.infolist())
        except ValueError:
            raise
        except Exception as failure:  # see `read`
            raise ValueError(f"not an .npz file, or damaged: {_first_line(failure)}") from None


def check_directory(file: IO[bytes]) -> None:
    """Check the length of a zip's list of members, which zipfile reads when it opens a zip.

    It stands in the last record (PKWARE's APPNOTE.TXT, 4.3.16), or in that of ZIP64 (4.3.14) before it.

    Raises:
        ValueError: the list is too long.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 2**16 - 100))
    end = file.read()
    file.seek(0)
    # zipfile looks for a record without a comment first, then for the last signature.
    position = len(end) - 22 if end[-22:-18] == b"PK\5\6" and end[-2:] == b"\0\0" else end.rfind(b"PK\5\6")
    if position < 0:
        return  # zipfile will say that it is not a zip file
    lengths = [int.from_bytes(end[position + 12 : position + 16], "little")]
    if position >= 76 and end[position - 76 : position - 72] == b"PK\6\6":
        lengths = [length for length in lengths if length < 2**32 - 1]  # which only refers to the other record
        lengths.append(int.from_bytes(end[position - 36 : position - 28], "little"))
    length = max(lengths)
    if length > LARGEST_DIRECTORY:
        raise ValueError(f"its list of members has {length:,} bytes; expected at most {LARGEST_DIRECTORY:,}")


def check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Check what the members of a zip of `size` bytes claim.

    Raises:
        ValueError: they are encrypted, compressed by another method than deflate, or claim more than the zip can hold.
    """
    for member in members:
        if member.flag_bits & 0x1:
            raise ValueError(f"{member.filename} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename} is compressed by method {member.compress_type}; expected deflate")
    if sum(member.compress_size for member in members) > size:
        raise ValueError(f"its members claim more than the file's {size:,} bytes")
    claimed = sum(member.file_size for member in members)
    if claimed > max(ALWAYS_ALLOWED, EXPANSION * size):
        raise ValueError(f"it claims {claimed:,} bytes of arrays in {size:,}")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"{name} has version {version} of the .npy format")
        shape, _, dtype = HEADERS[version](file, max_header_size=10_000)
        _check_header(name, shape, dtype, member.file_size - file.tell())
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        file.read(1)  # makes zipfile check the checksum, as it does at the end of a member
    return array


def _check_header(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], length: int) -> None:
    if dtype.hasobject or dtype.names or dtype.subdtype:
        raise ValueError(f"{name} holds {dtype!s:.80}; expected plain numbers or text")
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != length:
        raise ValueError(f"{name} claims the shape {shape!s:.80} of {dtype} in {length:,} bytes")


def _first_line(failure: Exception) -> str:
    lines = str(failure).splitlines()
    return f"{lines[0]:.200}" if lines else type(failure).__name__
