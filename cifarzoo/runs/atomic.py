"""Write files so that a reader finds the old content or the new, never a part of it, whenever the process is killed."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

# Windows refuses to replace a file while another process (a virus scanner, a reader) has it open.
RETRY_SECONDS = (0.05, 0.2, 1.0) if os.name == "nt" else ()
# Seconds after which a temporary file is a killed process's; writing an array takes less than one.
ABANDONED = 3600.0


@contextlib.contextmanager
def replacing(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block succeeds, move what it wrote there to `path`.

    The content is on the disk before the name changes. If the block fails, the temporary file is deleted and an earlier
    file at `path` stays as it was.

    Args:
        path: The file.
        shared: Whether other processes may write the same file at the same time, as no lock prevents it. Each then has
            a temporary file of its own, which a killed process leaves behind; see `remove_temporary`.

    Raises:
        OSError: the file cannot be written or moved.
    """
    stem, dot, suffixes = path.name.partition(".")
    own = f"-{secrets.token_hex(4)}" if shared else ""
    temporary = path.with_name(f"{stem}.part{own}{dot}{suffixes}")  # Keras looks at the suffixes
    if shared:
        open(temporary, "xb").close()  # fails on a link
    try:
        yield temporary
        flush(temporary)
        replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remove_temporary(folder: Path, suffixes: str, older_than: float = 0.0) -> None:
    """Remove the temporary files that killed `shared` writers left in a folder.

    Args:
        folder: The folder, which need not exist.
        suffixes: What follows the first dot in the names of the files that were written.
        older_than: Seconds since a file was last written. With 0, nobody may be writing there.
    """
    for path in folder.glob(f"*.part-????????.{suffixes}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 with the line ends of Unix; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def flush(path: Path) -> None:
    """Wait until a file's content is on the disk, where it survives a loss of power."""
    with open(path, "r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


def replace(source: Path, target: Path) -> None:
    """Rename a flushed file to the name of another file in its folder, and so replace that file.

    Raises:
        OSError: the file cannot be moved.
    """
    for seconds in (*RETRY_SECONDS, None):
        try:
            os.replace(source, target)
            break
        except PermissionError:
            if seconds is None:
                raise
            time.sleep(seconds)
    _flush_folder(target.parent)


def _flush_folder(folder):
    """Flush the folder's entry of a renamed file, on systems that can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):  # some network file systems refuse
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
