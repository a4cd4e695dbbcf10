"""Read other projects' checkpoints of any format, in bounded memory, without executing anything."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.conversion.readers import keras_files, npz_files, safetensors_files, tensorflow_files, torch_files
from cifarzoo.errors import WeightsError, summarize
from cifarzoo.npz import check_directory

ZIP, HDF5, PICKLE, NPY, GZIP = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x80", b"\x93NUMPY", b"\x1f\x8b"
READABLE = "a file of torch.save, .npz, a TensorFlow checkpoint, Keras' .h5, .safetensors"


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the content of a checkpoint, whose format is recognized by its content.

    Args:
        path: The file; of a TensorFlow checkpoint, the .index file or its path without ".index".

    Raises:
        WeightsError: there is no such file, its format is unknown, it is damaged, claims more than it can hold, or
            contains something other than arrays, numbers and texts.
    """
    try:
        return _reader(path)(path)
    except WeightsError as failure:
        text = str(failure)
        raise WeightsError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    except FileNotFoundError:
        raise WeightsError(f"{path}: does not exist") from None
    except PermissionError as failure:
        raise WeightsError(f"{path}: cannot be read ({failure.strerror})") from None
    except Exception as failure:  # damage makes zipfile, NumPy and h5py raise many kinds of exceptions
        raise WeightsError(f"{path}: damaged, or cannot be read ({summarize(failure)[:300]})") from None


def files_of(path: Path) -> list[Path]:
    """Return the files that `read_checkpoint` reads: of a TensorFlow checkpoint the index and all data files.

    Raises:
        WeightsError: the index is damaged. OSError: it cannot be read.
    """
    index = tensorflow_files.index_of(path)
    return [path] if index is None else tensorflow_files.files_of(index)


def _reader(path: Path) -> Callable[[Path], Checkpoint]:
    """Return the function that reads a file.

    Raises:
        WeightsError: no function does; the message says what the file is, if that is known.
    """
    if path.is_dir():
        raise WeightsError(f"is a folder; expected {READABLE}")
    if path.exists() and not path.is_file():  # opening a pipe could wait forever
        raise WeightsError(f"is not a regular file; expected {READABLE}")
    if (index := tensorflow_files.index_of(path)) is not None:
        return lambda _: tensorflow_files.read(index)
    with open(path, "rb") as file:
        start = file.read(2**12)
    if start.startswith(ZIP):
        return _zip_reader(path)
    if start.startswith(PICKLE):
        return _pickle_reader(start)
    if start.startswith(HDF5):
        return keras_files.read
    if start[8:10] in (b'{"', b"{}", b"{ "):
        return safetensors_files.read
    raise WeightsError(f"{_other_content(start)}; expected {READABLE}")


def _zip_reader(path: Path) -> Callable[[Path], Checkpoint]:
    with open(path, "rb") as file:
        try:
            check_directory(file)
        except ValueError as failure:
            raise WeightsError(str(failure)) from None
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    if torch_files.pickle_folder(names) is not None:
        return torch_files.read_zip
    if names and all(name.endswith(".npy") for name in names):
        return npz_files.read
    if "model.weights.h5" in names:
        raise WeightsError("is a .keras file, which holds code as well; save the weights with model.save_weights")
    raise WeightsError(f"is a zip of {', '.join(names[:3]):.200}; unpack it, and name the file of weights")


def _pickle_reader(start: bytes) -> Callable[[Path], Checkpoint]:
    if torch_files.LEGACY_MAGIC not in start[:40]:
        raise WeightsError("is a pickle, but not one of torch.save; save the arrays with numpy.savez")
    return torch_files.read_legacy


def _other_content(start: bytes) -> str:
    """Say what the beginning of a file shows that it is."""
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not a file of weights: the download did not work"
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself: download it with `git lfs pull` or from its web page"
    if start.startswith(NPY):
        return "is a single .npy array"
    if start.startswith(GZIP):
        return "is compressed by gzip: unpack it"
    if start[257:262] == b"ustar":
        return "is a tar archive: unpack it, or, if torch.load reads it, save it again with torch.save"
    if start.startswith(b"model_checkpoint_path"):
        return "is TensorFlow's list of checkpoints: name one of the .index files beside it"
    if not start:
        return "is empty"
    return "has an unknown format"
