"""Lock a folder for one process; the operating system releases the lock when the process exits for any reason."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

logger = logging.getLogger("cifarzoo")

SILENT_SECONDS = 3.0


@contextlib.contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock file.

    Args:
        path: The lock file; its folder must exist.
        wait: Whether to wait while another process holds it. After a few seconds a line of the log names that process.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
        OSError: the file cannot be written, or its file system has no locks.
    """
    lock = filelock.FileLock(path, timeout=SILENT_SECONDS if wait else 0, thread_local=False)
    owner = _owner_path(path)
    try:
        try:
            lock.acquire()
        except filelock.Timeout:
            if not wait:
                raise
            logger.warning("waiting for process %s, which holds %s", owner_of(path), path)
            lock.acquire(timeout=-1)
    except filelock.Timeout:
        raise BlockingIOError(f"{path}: held by process {owner_of(path)}") from None
    except NotImplementedError as failure:  # filelock before 3.13, where the system has no locks
        raise OSError(str(failure)) from None
    try:
        # Apart from the lock file, which Windows lets nobody else read.
        owner.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


def remove_unused(path: Path, created: Sequence[Path]) -> None:
    """Remove folders again if nothing was written to the first.

    Args:
        path: Its lock file, which nobody holds. Windows removes it with the lock.
        created: The folder and its parents, as far as they were created for the lock.
    """
    if created and {file.name for file in path.parent.glob("*")} <= {path.name}:
        with contextlib.suppress(OSError):  # another process was faster
            path.unlink(missing_ok=True)
            for folder in created:
                folder.rmdir()


def owner_of(path: Path) -> str:
    """Return the id of the process that holds a lock file, "unknown" if it left none."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return _owner_path(path).read_text(encoding="utf-8").strip() or "unknown"
    return "unknown"


def _owner_path(path):
    return path.with_name(f"{path.name}.pid")
