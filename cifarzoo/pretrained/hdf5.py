"""Open untrusted HDF5 files in bounded memory.

An HDF5 file can claim arrays of terabytes, store them in other files and link to any path, and h5py follows all of
this. The functions here check the file before any value is read.
"""

import contextlib
import io
import math
import mmap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from cifarzoo.errors import WeightsError, summarize

# Keras does not compress weights. Compressed files may expand to ALWAYS_ALLOWED bytes or EXPANSION times their size.
ALWAYS_ALLOWED = 2**24
EXPANSION = 20
WEIGHTS_MEMBER = "model.weights.h5"


@contextlib.contextmanager
def open_bounded(path: Path) -> Iterator[tuple[Any, set[str]]]:
    """Open a weight file after checking what it claims.

    Yields:
        The `h5py.File`, and the full names of its arrays; none of them is behind a link.

    Raises:
        WeightsError: the file is damaged, is not a Keras weight file, or claims more than it can hold. Exceptions of
            h5py in the block become WeightsErrors, too; a WeightsError from the block gets the path as its prefix.
    """
    import h5py  # here, because listing models imports this package and must not import NumPy

    try:
        if path.stat().st_size:  # an empty file cannot be mapped
            with open(path, "rb") as mapped, mmap.mmap(mapped.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _check_heaps(data)
        with h5py.File(path) as file:
            yield file, checked_arrays(file, path.stat().st_size)
    except WeightsError as failure:
        raise WeightsError(f"{path}: {failure}") from None
    except Exception as failure:  # a damaged file makes h5py raise many kinds of exceptions
        raise WeightsError(f"{path}: not an HDF5 file, or damaged ({summarize(failure)})") from None


def checked_arrays(file: Any, size: int) -> set[str]:
    """Return the full names of the arrays in a file of `size` bytes.

    Raises:
        WeightsError: the arrays claim more than a file of this size can hold, or are stored in other files.
    """
    import h5py

    names: set[str] = set()
    claimed = 0

    def visit(name: str, node: Any) -> None:
        nonlocal claimed
        if not isinstance(node, h5py.Dataset):
            return
        if node.is_virtual or node.external:
            raise WeightsError(f"/{name} is kept in another file")
        # Reading part of a chunk reads the whole chunk.
        numbers = max(math.prod(node.shape or (0,)), math.prod(node.chunks or (0,)))
        claimed += numbers * node.dtype.itemsize
        if claimed > max(ALWAYS_ALLOWED, EXPANSION * size):
            raise WeightsError(f"/{name} claims the shape {node.shape!s:.80} in a file of {size:,} bytes")
        names.add(f"/{name}")

    file.visititems(visit)
    return names


def _check_heaps(data: bytes | mmap.mmap) -> None:
    """Check the heaps that store text: HDF5 1.14 loops forever over an object of length 0.

    The format: "GCOL", version 1, three zeros, the heap's length in 8 bytes; then objects: 16 bytes (index, references,
    zeros, length in 8 bytes) and the content, padded to 8 bytes. Object 0 is the free space, including its header.

    Raises:
        WeightsError: an object is longer than its heap, its length is 0, or heaps overlap, which would take quadratic
            time to check.
    """
    signature = b"GCOL\x01\0\0\0"
    objects_left = len(data) // 16  # maximum number of objects if heaps do not overlap
    start = data.find(signature)
    while start >= 0:
        end = start + int.from_bytes(data[start + 8 : start + 16], "little")
        position = start + 16
        while position + 16 <= min(end, len(data)):
            index = int.from_bytes(data[position : position + 2], "little")
            length = int.from_bytes(data[position + 8 : position + 16], "little")
            step = 16 + (length + 7) // 8 * 8 if index else length
            if not step or step > end - position:
                raise WeightsError(f"damaged: the heap at byte {start:,} has an object of {length:,} bytes")
            objects_left -= 1
            if objects_left < 0:
                raise WeightsError(f"damaged: the heap at byte {start:,} overlaps another")
            position += step
        start = data.find(signature, start + 8)


def child(group: Any, name: str) -> Any:
    """Return the member of a group with this name, None if there is none.

    Raises:
        WeightsError: the member is a link.
    """
    import h5py

    if name not in group:
        return None
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise WeightsError(f"{group.name}/{name} is a link")
    return group[name]


def check_saved_model(file: IO[bytes]) -> None:
    """Check the weights inside a `.keras` file before Keras reads them.

    Raises:
        WeightsError: the weights claim more than the file can hold. Exception: the file is damaged.
    """
    import h5py

    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        claimed = sum(member.file_size for member in archive.infolist())
        if claimed > max(ALWAYS_ALLOWED, EXPANSION * size):
            raise WeightsError(f"it claims {claimed:,} bytes in {size:,}")
        if WEIGHTS_MEMBER in archive.namelist():
            data = archive.read(WEIGHTS_MEMBER)
            _check_heaps(data)
            with h5py.File(io.BytesIO(data)) as weights:
                checked_arrays(weights, max(size, archive.getinfo(WEIGHTS_MEMBER).file_size))
