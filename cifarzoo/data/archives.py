"""Read the official CIFAR archives, unpacked or as .tar.gz, binary or python, into arrays in canonical order.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009; https://www.cs.toronto.edu/~kriz/cifar.html.
A binary record is the label (for CIFAR-100 the coarse, then the fine label), one byte each, followed by 3,072 bytes of
pixels: the red, green and blue planes, each row by row. The python archives hold the same rows as pickled arrays.
Canonical order is the order of the records, starting with `data_batch_1`.
"""

import gzip
import logging
import os
import pickle
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.data.pickles import read_batch
from cifarzoo.data.published_records import is_published
from cifarzoo.errors import DataError

logger = logging.getLogger("cifarzoo")

PIXELS = 3 * 32 * 32
CLASSES = {"cifar10": {"label": 10}, "cifar100": {"coarse label": 20, "fine label": 100}}
LABEL_KEYS = {"label": "labels", "coarse label": "coarse_labels", "fine label": "fine_labels"}


@dataclass(frozen=True)
class Form:
    """One of the two forms, binary or python, in which a data set is published.

    Attributes:
        dataset: "cifar10" or "cifar100".
        folder: Name of the folder inside the archive, and of the unpacked folder.
        tar: Official name of the archive.
        binary: True for fixed-length records, False for pickles.
        train: File names of the training split with the number of records in each, in canonical order.
        test: The same for the test split.
    """

    dataset: str
    folder: str
    tar: str
    binary: bool
    train: dict[str, int]
    test: dict[str, int]

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders that may hold the unpacked files: Keras unpacks into `FOLDER-target`, once into `FOLDER`."""
        return f"{self.folder}-target/{self.folder}", f"{self.folder}/{self.folder}", self.folder

    @property
    def tars(self) -> tuple[str, ...]:
        """Names that the archive may have: the official one and those of Keras' downloads."""
        return self.tar, f"{self.folder}.tar.gz", f"{self.folder}-target_archive", f"{self.folder}_archive"

    @property
    def record(self) -> int:
        """Length of a binary record in bytes."""
        return len(CLASSES[self.dataset]) + PIXELS


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
FORMS = (
    Form(
        "cifar10",
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        True,
        {f"{batch}.bin": 10_000 for batch in BATCHES},
        {"test_batch.bin": 10_000},
    ),
    Form(
        "cifar10",
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        False,
        dict.fromkeys(BATCHES, 10_000),
        {"test_batch": 10_000},
    ),
    Form("cifar100", "cifar-100-binary", "cifar-100-binary.tar.gz", True, {"train.bin": 50_000}, {"test.bin": 10_000}),
    Form("cifar100", "cifar-100-python", "cifar-100-python.tar.gz", False, {"train": 50_000}, {"test": 10_000}),
)


@dataclass(frozen=True, eq=False)
class Records:
    """A split with all labels of the archive.

    Attributes:
        images: uint8 [n, 32, 32, 3].
        labels: int32 [n] for each key of `CLASSES`: "label", or "coarse label" and "fine label".
    """

    images: np.ndarray
    labels: dict[str, np.ndarray]


def search_folders(data_dir: str | Path | None) -> list[Path]:
    """Return the folders to search: only `data_dir` if there is one, otherwise `$CIFARZOO_DATA` and Keras' cache."""
    if data_dir is not None:
        return [Path(data_dir).expanduser()]
    keras_home = os.environ.get("KERAS_HOME") or "~/.keras"
    folders = [os.environ.get("CIFARZOO_DATA"), os.path.join(keras_home, "datasets")]
    return [Path(folder).expanduser() for folder in folders if folder]


def expected_names(dataset: str) -> str:
    """List the folders and archives that can hold a data set, for a message."""
    forms = [form for form in FORMS if form.dataset == dataset]
    return ", ".join([f"{form.folder}/" for form in forms] + [form.tar for form in forms])


def find(dataset: str, path: Path) -> tuple[Form, Path] | None:
    """Return the first archive of a data set in the folder `path`, or `path` itself if it is one, or None.

    Unpacked archives come before .tar.gz.
    """
    forms = [form for form in FORMS if form.dataset == dataset]
    for form in forms:
        for folder in form.folders:
            if (path / folder).is_dir():
                return form, path / folder
        if path.name == form.folder and path.is_dir():
            return form, path
    for form in forms:
        for tar in form.tars:
            if (path / tar).is_file():
                return form, path / tar
        if path.name in form.tars and path.is_file():
            return form, path
    return None


def read(form: Form, path: Path) -> tuple[Records, Records]:
    """Read the training and test split of an archive located by `find`.

    Raises:
        DataError: A file is missing, truncated or corrupt; the message says which, what was expected and what it holds.
    """
    contents = _folder_contents(form, path) if path.is_dir() else _tar_contents(form, path)
    return _split(form, path, contents, form.train), _split(form, path, contents, form.test)


def _split(form: Form, path: Path, contents: Callable[[str], bytes], files: dict[str, int]) -> Records:
    total = sum(files.values())
    images = np.empty((total, 32, 32, 3), np.uint8)
    labels = {kind: np.empty(total, np.int32) for kind in CLASSES[form.dataset]}
    first = 0
    for name, count in files.items():
        where = path / name if path.is_dir() else f"{path}: {form.folder}/{name}"
        rows, columns = (_binary if form.binary else _pickled)(form, where, contents(name), count)
        for (kind, classes), column in zip(CLASSES[form.dataset].items(), columns, strict=True):
            _check_labels(where, kind, column, classes)
            labels[kind][first : first + count] = column
        if not is_published(form.dataset, name, rows, columns):
            # Only a warning, because users may store their own data set in this form.
            logger.warning(
                "%s: holds other images or labels than the published %s; unless that is intended, unpack it again",
                where,
                form.dataset,
            )
        images[first : first + count] = rows.reshape(count, 3, 32, 32).transpose(0, 2, 3, 1)
        first += count
    return Records(images, labels)


def _binary(form: Form, where: str | Path, data: bytes, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    records = np.frombuffer(data, np.uint8).reshape(count, form.record)
    kinds = len(CLASSES[form.dataset])
    return records[:, kinds:], [records[:, kind] for kind in range(kinds)]


def _pickled(form: Form, where: str | Path, data: bytes, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    try:
        batch = read_batch(data)
    except pickle.UnpicklingError as error:
        raise DataError(f"{where}: expected a pickled CIFAR batch, found {error}") from None
    rows = batch.get("data")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape != (count, PIXELS):
        actual = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise DataError(f"{where}: expected 'data' to be uint8 ({count}, {PIXELS}), found {actual}")
    return rows, [_pickled_labels(where, batch, LABEL_KEYS[kind], count) for kind in CLASSES[form.dataset]]


def _pickled_labels(where: str | Path, batch: dict[str, Any], key: str, count: int) -> np.ndarray:
    values = batch.get(key)
    if isinstance(values, list) and all(type(value) is int for value in values):
        values = np.array(values)
    if not isinstance(values, np.ndarray) or values.shape != (count,):
        actual = values.shape if isinstance(values, np.ndarray) else type(values).__name__
        raise DataError(f"{where}: expected {key!r} to be {count:,} integers, found {actual}")
    return values


def _check_labels(where: str | Path, kind: str, column: np.ndarray, classes: int) -> None:
    wrong = np.flatnonzero((column < 0) | (column >= classes))
    if wrong.size:
        value = column[wrong[0]]
        digits = len(f"{int(value):x}")  # Python refuses to format decimal numbers of thousands of digits
        actual = f"{value if digits < 100 else f'a number of {digits} hexadecimal digits'} in record {wrong[0]:,}"
        raise DataError(f"{where}: expected every {kind} to be from 0 to {classes - 1}, found {actual}")


def _check_size(form: Form, where: str | Path, size: int, count: int) -> None:
    """Check a file's length before reading it: that of a binary file exactly, that of a pickle up to a factor of 4."""
    if form.binary and size != count * form.record:
        expected = f"{count * form.record:,} bytes ({count:,} records of {form.record:,})"
        raise DataError(f"{where}: expected {expected}, found {size:,}")
    if not form.binary and size > 4 * count * form.record:
        raise DataError(f"{where}: expected about {count * form.record:,} bytes, found {size:,}")


def _folder_contents(form: Form, folder: Path) -> Callable[[str], bytes]:
    """Return a function that maps a file name to the file's bytes."""
    counts = form.train | form.test
    if missing := [name for name in counts if not (folder / name).is_file()]:
        raise DataError(f"{folder}: expected {', '.join(counts)}; {', '.join(missing)} is missing")

    def contents(name: str) -> bytes:
        path = folder / name
        try:
            _check_size(form, path, path.stat().st_size, counts[name])
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None

    return contents


class _LimitedGzip(gzip.GzipFile):
    """A gzip file that raises OSError when it expands to more than `limit` bytes."""

    def __init__(self, path: Path, limit: int):
        super().__init__(path, "rb")
        self._left = limit

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._left -= len(data)
        if self._left < 0:
            raise OSError("it expands to more than four times the length of the official archive")
        return data


def _tar_contents(form: Form, path: Path) -> Callable[[str], bytes]:
    """Return the same function for a .tar.gz, read into memory in one pass without looking at other members.

    Only a regular file with exactly the expected name counts, so links and odd paths lead nowhere. The stream is read
    to its end, which holds its checksum.
    """
    counts = form.train | form.test
    names = {f"{form.folder}/{name}": name for name in counts}
    contents = {}
    try:
        with _LimitedGzip(path, 4 * sum(counts.values()) * form.record) as stream:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as tar:
                for member in tar:
                    name = names.get(member.name.removeprefix("./"))
                    file = tar.extractfile(member) if name is not None and member.isreg() else None
                    if name is None or file is None:
                        continue
                    _check_size(form, f"{path}: {member.name}", member.size, counts[name])
                    contents[name] = file.read()
            while stream.read(1 << 20):
                pass
    # tarfile does not catch the exceptions of int() and unpacking at values of a damaged PAX header.
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError) as error:
        raise DataError(
            f"{path}: expected a complete {form.tar}, found a truncated or corrupt file "
            f"({type(error).__name__}: {error!s:.100})"
        ) from None
    if missing := [name for name in counts if name not in contents]:
        raise DataError(f"{path}: expected {form.folder}/ with {', '.join(counts)}; {', '.join(missing)} is missing")
    return contents.__getitem__
