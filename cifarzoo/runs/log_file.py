"""Continue the log of a resumed run at the row where its checkpoint left it."""

import logging
import os
from pathlib import Path

logger = logging.getLogger("cifarzoo")


def begin_log(path: Path, header: str, length: int = 0) -> None:
    """Begin a log, or cut it back to its length when a checkpoint was written.

    If the file has lost rows since then, keep its complete rows and log a warning about the missing ones.

    Args:
        path: The file.
        header: Its first line, without the line end.
        length: Bytes to keep; 0 begins a new file.

    Raises:
        OSError: the file cannot be written.
    """
    first = f"{header}\n".encode()
    size = path.stat().st_size if path.is_file() else 0
    if 0 < length <= size:
        os.truncate(path, length)
        return
    kept = first
    if length:
        logger.warning(
            "%s: has %s bytes, but had %s when the checkpoint was written; the rows in between are missing",
            path,
            f"{size:,}",
            f"{length:,}",
        )
        content = path.read_bytes() if size else b""
        if content.startswith(first):
            kept = content[: content.rindex(b"\n") + 1]
    path.write_bytes(kept)
