"""SHA-256 of files."""

import functools
import hashlib
from pathlib import Path


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file; cached until its size or modification time changes."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)
