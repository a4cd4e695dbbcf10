"""Made-up archives of full size in the official formats, and pickles as Python 2 writes them."""

import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

needs_data = pytest.mark.skipif("CIFARZOO_DATA" not in os.environ, reason="needs real archives in $CIFARZOO_DATA")

FILES = {
    "cifar-10-batches-bin": {f"data_batch_{n}.bin": 10_000 for n in range(1, 6)} | {"test_batch.bin": 10_000},
    "cifar-10-batches-py": {f"data_batch_{n}": 10_000 for n in range(1, 6)} | {"test_batch": 10_000},
    "cifar-100-binary": {"train.bin": 50_000, "test.bin": 10_000},
    "cifar-100-python": {"train": 50_000, "test": 10_000},
}


def made_up_images(count, file_number):
    """Return uint8 [count, 32, 32, 3]: red encodes the row, green the column, blue the image and the file."""
    images = np.empty((count, 32, 32, 3), np.uint8)
    images[..., 0] = np.arange(32)[:, None] * 7
    images[..., 1] = np.arange(32) * 5
    images[..., 2] = ((np.arange(count) + 31 * file_number) % 251)[:, None, None]
    return images


def made_up_labels(count, file_number, classes):
    return (np.arange(count) * 3 + file_number) % classes


def planes(images):
    """Return images as rows of the archives: [n, 3072], the red, green and blue planes."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def file_contents(folder, file_number, count, protocol=None):
    """Return the bytes of one file of an archive; pickles are Python 2's unless `protocol` names one of Python 3."""
    rows = planes(made_up_images(count, file_number))
    if "100" in folder:
        labels = {b"coarse_labels": made_up_labels(count, file_number, 20)}
        labels |= {b"fine_labels": made_up_labels(count, file_number, 100)}
    else:
        labels = {b"labels": made_up_labels(count, file_number, 10)}
    if folder.endswith(("bin", "binary")):
        return np.concatenate([*(column[:, None].astype(np.uint8) for column in labels.values()), rows], 1).tobytes()
    batch = {b"batch_label": b"made up", b"data": rows} | {key: column.tolist() for key, column in labels.items()}
    return python2_pickle(batch) if protocol is None else pickle.dumps(batch, protocol)


def write_folder(parent: Path, folder: str) -> Path:
    """Write a complete unpacked archive into `parent`."""
    path = parent / folder
    path.mkdir(parents=True)
    for number, (name, count) in enumerate(FILES[folder].items()):
        (path / name).write_bytes(file_contents(folder, number, count))
    return path


def write_tar(path: Path, members: dict[str, bytes | str]):
    """Write a .tar.gz; contents that are text become a symbolic link to that path."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, contents in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(contents, str):
                member.type, member.linkname = tarfile.SYMTYPE, contents
                tar.addfile(member)
            else:
                member.size = len(contents)
                tar.addfile(member, io.BytesIO(contents))


def python2_pickle(value) -> bytes:
    """Pickle like Python 2's cPickle and NumPy 1, in protocol 2: strings are byte strings, arrays name numpy.core."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value):
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if value is None:
        return b"N"
    if isinstance(value, tuple):
        return b"(" + b"".join(_python2(item) for item in value) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(_python2(item) for item in value) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(key) + _python2(item) for key, item in value.items()) + b"u"
    dtype = b"cnumpy\ndtype\n" + _python2((b"u1", 0, 1)) + b"R"
    dtype += _python2((3, b"|", None, None, None, -1, -1, 0)) + b"b"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _python2((0,)) + _python2(b"b") + b"tR"
    return (
        empty + b"(" + _python2(1) + _python2(value.shape) + dtype + _python2(False) + _python2(value.tobytes()) + b"tb"
    )
