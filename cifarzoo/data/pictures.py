"""Open picture files with Pillow and bring them to one size: uint8 RGB, upright, square."""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.Image import open as open_picture

from cifarzoo.errors import DataError, summarize
from cifarzoo.notebook import say

# What Pillow may open: no format that runs another program, as EPS does.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 100_000_000  # of a picture; Pillow itself warns of 89 million
AT_ONCE = 32  # pictures per task
QUIET_SECONDS, LINE_SECONDS = 2.0, 30.0


def read_pictures(name: str, paths: Sequence[str], size: int, fit: str, filter_name: str) -> np.ndarray:
    """Open pictures in parallel; Pillow computes outside Python's lock. A line is printed if it takes long.

    Args:
        name: The data set, for the line.
        paths: The files.
        size: Height and width of the result.
        fit: "crop" or "squash".
        filter_name: Name of one of Pillow's filters, in lower case.

    Returns:
        uint8 [n, size, size, 3].

    Raises:
        DataError: a file is not a picture that opens; the message names it and counts the others.
    """
    images = np.empty((len(paths), size, size, 3), np.uint8)
    failures: list[str] = []
    progress = Progress(f"{name}: opening {len(paths):,} pictures")

    def read(first: int) -> list[str]:
        problems = []
        for number in range(first, min(first + AT_ONCE, len(paths))):
            try:
                images[number] = read_picture(paths[number], size, fit, filter_name)
            except Exception as failure:  # whatever damage makes Pillow raise
                problems.append(f"{paths[number]}: not a picture that opens ({reason(failure, paths[number])})")
        return problems

    # Filters of warnings belong to the process, so they are set before the threads start.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        warnings.simplefilter("ignore")
        starts = range(0, len(paths), AT_ONCE)
        for number, problems in enumerate(threads.map(read, starts), start=1):
            failures += problems
            progress(number / len(starts))
    if failures:
        more = f", and {len(failures) - 1:,} more" if len(failures) > 1 else ""
        raise DataError(f"{failures[0]}{more}; remove or repair them")
    return images


def reason(failure: Exception, path: str) -> str:
    """Say in a few words why a file is not a picture that opens."""
    if isinstance(failure, Image.UnidentifiedImageError):
        return "is empty" if not os.path.getsize(path) else "no format that Pillow knows"
    if isinstance(failure, Image.DecompressionBombError):
        return f"too large; expected at most {MOST_PIXELS:,} pixels"
    return summarize(failure)


def read_picture(path: str | Path, size: int, fit: str, filter_name: str) -> np.ndarray:
    """Open one picture: uint8 [size, size, 3]."""
    return to_square(open_upright(path), size, fit, filter_name)


def open_upright(path: str | Path) -> Image.Image:
    """Open one picture of any size and mode in RGB, turned as its EXIF data say."""
    with open_picture(path, formats=FORMATS) as picture:
        width, height = picture.size
        if width * height > MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels; expected at most {MOST_PIXELS:,}")
        if picture.format == "TIFF" and picture.mode == "I":  # PPM has this mode for 16 bits
            raise ValueError("32-bit or signed pixels; expected 8 or 16 bits")
        return as_rgb(ImageOps.exif_transpose(picture))


def as_rgb(picture: Image.Image) -> Image.Image:
    """Convert a picture of any mode to RGB: 16 bits are cut to 8, and what is transparent shows white."""
    if picture.mode == "F":
        raise ValueError("floating-point pixels; expected 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would clip instead of scaling
        pixels = np.asarray(picture).astype(np.int64)
        if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 65535:
            raise ValueError("32-bit pixels; expected 8 or 16 bits")
        picture = Image.fromarray((pixels >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def to_square(picture: Image.Image, size: int, fit: str, filter_name: str) -> np.ndarray:
    """Resize an RGB picture: its middle square ("crop") or all of it ("squash"); uint8 [size, size, 3].

    Of a picture with float pixels in one channel: float32 [size, size].
    """
    width, height = picture.size
    if fit == "crop" and width != height:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        # Not `resize` with a box, whose filter would reach beyond the box.
        picture = picture.crop((left, top, left + side, top + side))
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling[filter_name.upper()])
    return np.asarray(picture)


class Progress:
    """Prints a line when a task has taken two seconds, and every 30 after that.

    Args:
        title: What is being done.
        line: Prints the line.
    """

    def __init__(self, title: str, line: Callable[[str], None] = say):
        self._title, self._line = title, line
        self._started = time.monotonic()
        self._next = QUIET_SECONDS

    def __call__(self, done: float) -> None:
        """Note that a fraction of the task is done."""
        seconds = time.monotonic() - self._started
        if done < 1 and seconds >= self._next:
            self._next = seconds + LINE_SECONDS
            left = seconds * (1 - done) / max(done, 1e-9)
            self._line(f"{self._title}: {100 * done:.0f} %, about {left:,.0f} s left")
