"""Refuse a data set that memory cannot hold before it is read."""

import os
from pathlib import Path

from cifarzoo.errors import DataError

# The arrays, and the engine's copy on the device, which is the same memory on a processor.
COPIES = 2


def check_memory(name: str, images: str, size: int) -> None:
    """Check that images fit into the memory that is free.

    Args:
        name: Name of the data set.
        images: What they are, in words.
        size: Their bytes.

    Raises:
        DataError: they do not; the message says how much they need.
    """
    needed, free = COPIES * size, free_memory()
    if free is not None and needed > free:
        raise DataError(
            f"data set {name!r}: {images} need {_text(needed)} while they are trained on, but at most "
            f"{_text(free)} are free; choose a smaller size, or fewer images"
        )


def check_images(name: str, count: int, size: int) -> None:
    """Check that this many square RGB images of a size fit; see `check_memory`."""
    check_memory(name, f"{count:,} images of {size} x {size} pixels", count * size * size * 3)


def _text(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def free_memory() -> int | None:
    """Return the most bytes of memory that may be free, within the limit of a container.

    On macOS it is all of the machine's memory; on Windows None, since the standard library does not say it.
    """
    limits = [_of_system(), _of_container()]
    return min((limit for limit in limits if limit is not None), default=None)


def _of_system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    if not hasattr(os, "sysconf"):  # Windows
        return None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _of_container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what a control group of Linux (version 2) leaves."""
    try:
        limit = int((folder / "memory.max").read_text(encoding="utf-8"))
        used = int((folder / "memory.current").read_text(encoding="utf-8"))
        counts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        # The page cache counts as used, but its idle part is given back as soon as memory is needed.
        cache = int(counts.get("inactive_file", 0))
    except (OSError, ValueError):  # "max" means that there is no limit
        return None
    return max(0, limit - max(0, used - cache))
