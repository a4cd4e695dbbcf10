"""Checkpoints: all that the next step depends on, in one file that is either whole or not there.

A checkpoint is written under a temporary name, flushed to the disk and renamed, so that a process killed anywhere
leaves the earlier one intact. A lock on the run's folder keeps a second process out.
"""

import contextlib
import fcntl
import json
import os
import zipfile
from pathlib import Path

import numpy as np

from cifarzoo.errors import CheckpointError, InUseError

FILE = "checkpoint.npz"


def save(folder: Path, arrays: dict[str, np.ndarray], meta: dict) -> None:
    """Write a checkpoint.

    Args:
        folder: The run's folder.
        arrays: The engine's state.
        meta: Plain data: step, fingerprint, sums of the unfinished log interval, length of the log, provenance.

    Raises:
        CheckpointError: it cannot be written; an earlier checkpoint is still there.
    """
    path, temporary = folder / FILE, folder / f"{FILE}.part"
    try:
        with open(temporary, "wb") as file:
            np.savez(file, __meta__=np.array(json.dumps(meta)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as failure:
        with contextlib.suppress(OSError):
            temporary.unlink()
        kept = "the earlier checkpoint is intact" if path.exists() else "there is no earlier checkpoint"
        raise CheckpointError(f"{path}: cannot be written ({failure.strerror or failure}); {kept}") from None


def write_whole(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it, so that it is never there in part."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    flush(part)
    part.replace(path)


def flush(path: Path) -> None:
    """Have what was written to a file on the disk, where a loss of power leaves it."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict] | None:
    """The state and meta data of a folder's checkpoint, or None if it has none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return arrays, json.loads(str(arrays.pop("__meta__")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as failure:
        raise CheckpointError(
            f"{path}: damaged ({failure}); delete it to start this run anew, or restore it from a copy"
        ) from None


def read_meta(folder: Path) -> dict | None:
    """Only the meta data of a folder's checkpoint, or None if it has none that can be read."""
    try:
        with open(folder / FILE, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return json.loads(str(archive["__meta__"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def check_state(path: Path, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Raise CheckpointError unless both have the same names and shapes."""
    shapes = {name: array.shape for name, array in found.items()}, {n: np.shape(a) for n, a in expected.items()}
    different = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
    if different:
        name = different[0][0]
        there, here = (shape.get(name) for shape in shapes)
        raise CheckpointError(f"{path}: made for another model: {name} has shape {there} there and {here} here")


@contextlib.contextmanager
def locked(folder: Path):
    """Hold the folder for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        InUseError: another process holds it.
        CheckpointError: the folder cannot be written or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "a+")  # noqa: SIM115  closed below, after the whole run
    except OSError as failure:
        raise CheckpointError(
            f"{folder}: cannot be written ({failure.strerror}); set train_parameters.logdir"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise InUseError(
                f"{folder}: another process (number {owner}) is training there; wait for it, or set another run_name"
            ) from None
        except OSError as failure:
            raise CheckpointError(
                f"{folder}: its file system has no locks ({failure.strerror}); set train_parameters.logdir to another"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
