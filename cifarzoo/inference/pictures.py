"""Find the pictures that a user means, and bring each to the size of a network's input."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from cifarzoo.data.folder_walk import Walk
from cifarzoo.data.pictures import as_rgb, open_upright, reason, to_square
from cifarzoo.errors import DataError

FITS = ("crop", "squash")
FILTERS = tuple(kind.name.lower() for kind in Image.Resampling)
CHANNELS = (1, 3, 4)  # of an array: gray, RGB, RGB with alpha


@dataclass(frozen=True)
class Resizing:
    """How pictures are brought to the size of a network's input.

    Attributes:
        size: Height and width in pixels.
        fit: "crop" for the square in the middle of a picture, or "squash" for all of it.
        filter_name: Name of one of Pillow's filters, in lower case.
    """

    size: int
    fit: str = "crop"
    filter_name: str = "bicubic"

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Return the pixels of a picture."""
        return to_square(picture, self.size, self.fit, self.filter_name)


@dataclass(frozen=True)
class Picture:
    """A picture that has not been read yet.

    Attributes:
        name: Its path, or "image 0", "image 1", ... for arrays.
        source: A path; or uint8 or float pixels [height, width, 3]; or an RGB picture.
    """

    name: str
    source: str | np.ndarray | Image.Image = field(repr=False)

    def read(self, resizing: Resizing) -> np.ndarray:
        """Return its pixels [size, size, 3], uint8, or float32 of a float array, which is not rounded.

        Raises:
            DataError: it is not a picture that opens.
        """
        if isinstance(self.source, np.ndarray) and self.source.dtype != np.uint8:
            return np.stack([resizing(Image.fromarray(channel)) for channel in np.moveaxis(self.source, -1, 0)], -1)
        return resizing(self.whole())

    def square(self, fit: str, largest: int) -> Image.Image:
        """Return what the network sees of the picture before it is resized, in RGB, at most `largest` pixels wide.

        Raises:
            DataError: it is not a picture that opens.
        """
        picture = self.whole()
        side = min(largest, min(picture.size) if fit == "crop" else max(picture.size))
        return Image.fromarray(to_square(picture, side, fit, "bicubic"))

    def whole(self) -> Image.Image:
        """Return the whole picture in RGB, upright; of a float array with pixels rounded to 0-255.

        Raises:
            DataError: it is not a picture that opens.
        """
        if isinstance(self.source, Image.Image):
            return self.source
        if isinstance(self.source, np.ndarray):
            return Image.fromarray(_displayable(self.source))
        try:
            return open_upright(self.source)
        except Exception as failure:  # whatever damage makes Pillow raise
            raise DataError(f"{self.name}: not a picture that opens ({reason(failure, self.source)})") from None


def find_pictures(images: Any) -> list[Picture]:
    """Return the pictures that a user means.

    Args:
        images: A path of a picture, or of a folder whose pictures are meant, with those in folders below it, sorted by
            name; an array [height, width, 3], [n, height, width, 3], or gray without the last axis; a Pillow image; or
            a list of any of these. A last axis of 1 is gray, and of 4 RGB with alpha.

    Raises:
        DataError: there is no such file, a folder has no picture, or an array has another shape.
    """
    found = list(_pictures(images))
    if not found:
        raise DataError("images: got none; expected files, folders or arrays")
    unnamed = iter(range(len(found)))
    return [Picture(picture.name or f"image {next(unnamed)}", picture.source) for picture in found]


def _pictures(images: Any) -> Iterator[Picture]:
    if isinstance(images, str | os.PathLike):
        yield from _files(os.fspath(images))
    elif isinstance(images, Image.Image):
        yield Picture("", as_rgb(ImageOps.exif_transpose(images)))
    elif isinstance(images, list | tuple) and not _is_numbers(images):
        for item in images:
            yield from _pictures(item)
    else:
        yield from (Picture("", pixels) for pixels in _arrays(images))


def _is_numbers(items: Sequence) -> bool:
    """Whether a list is an array of numbers in Python's own form."""
    while isinstance(items, list | tuple) and items:
        items = items[0]
    return isinstance(items, int | float)


def _files(path: str) -> Iterator[Picture]:
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"{path}: no such file or folder")
    if not place.is_dir():
        yield Picture(path, str(place))
        return
    walk = Walk(place)
    try:
        files = [file for _, file in walk.images_in(place)]
    except OSError as failure:
        raise DataError(f"{failure.filename}: cannot be read ({failure.strerror})") from None
    walk.report()
    if not files:
        raise DataError(f"{path}: has no pictures; expected .png, .jpg, .gif, .webp, .bmp, .tiff or .ppm files")
    for file in files:
        yield Picture(file, file)


def _arrays(images: Any) -> Iterator[np.ndarray]:
    """Yield pixels [height, width, 3], uint8 or float32, of one or several pictures."""
    pixels = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if pixels.ndim and not len(pixels):
        raise DataError("images: got none; expected at least one")
    if pixels.dtype == object or pixels.dtype.kind not in "buif":
        raise DataError(f"images: expected files, folders or arrays, got {type(images).__name__}")
    shape = list(pixels.shape)
    if pixels.ndim == 2 or (pixels.ndim == 3 and shape[-1] not in CHANNELS and shape[0] not in CHANNELS):
        pixels = pixels[..., None]  # gray
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.shape[-1] not in CHANNELS or 0 in pixels.shape:
        hint = "; move the channels to the last axis" if len(shape) > 2 and shape[-3] in CHANNELS else ""
        raise DataError(f"images: expected [height, width, 3] or [n, height, width, 3], got {shape}{hint}")
    if not np.isfinite(pixels).all():
        raise DataError("images: has values that are not finite")
    for image in pixels:
        yield _as_color(image)


def _as_color(image: np.ndarray) -> np.ndarray:
    """Return an array [height, width, 1, 3 or 4] as RGB: uint8 if it is so, or integers in 0-255; else float32."""
    if image.dtype.kind in "iu" and image.dtype != np.uint8 and image.min() >= 0 and image.max() <= 255:
        image = image.astype(np.uint8)
    if image.dtype != np.uint8:
        image = image.astype(np.float32)
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    if image.shape[-1] == 3:
        return image
    if image.dtype == np.uint8:
        return np.asarray(as_rgb(Image.fromarray(image, "RGBA")))
    raise DataError("images: expected three channels, got floats with four; leave alpha out")


def _displayable(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as uint8; values in 0-1 and standardized ones are stretched to 0-255."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0:
        pixels = (pixels - low) / max(high - low, 1e-9) * 255
    elif high <= 1:
        pixels = pixels * 255
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def read_chunks(
    pictures: Sequence[Picture], resizing: Resizing, chunk: int = 500
) -> Iterator[tuple[list[Picture], np.ndarray, list[str]]]:
    """Read pictures in parallel, some at a time, so that any number of them fits into memory.

    Args:
        pictures: The pictures.
        resizing: How they are brought to one size.
        chunk: Pictures at a time.

    Yields:
        The pictures that opened; their pixels [n, size, size, 3], uint8, or float32 if any is; and one line for each of
        the others.
    """

    def read(picture: Picture) -> np.ndarray | DataError:
        try:
            return picture.read(resizing)
        except DataError as failure:
            return failure

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for first in range(0, len(pictures), chunk):
            some = pictures[first : first + chunk]
            # Filters of warnings belong to the process, so they are set outside the threads.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results = list(threads.map(read, some))
            opened = [k for k, result in enumerate(results) if isinstance(result, np.ndarray)]
            pixels = [results[k] for k in opened]
            yield (
                [some[k] for k in opened],
                np.stack(pixels) if pixels else np.empty((0, resizing.size, resizing.size, 3), np.uint8),  # type: ignore[arg-type]
                [str(result) for result in results if isinstance(result, DataError)],
            )
