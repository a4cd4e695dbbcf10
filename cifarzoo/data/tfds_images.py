"""Read any image classification set that TensorFlow Datasets (TFDS) provides or that the user prepared with it."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.data.image_cache import OwnArrays, cached
from cifarzoo.data.memory import check_images
from cifarzoo.data.own_data import TfdsImages
from cifarzoo.data.pictures import Progress, as_rgb, to_square
from cifarzoo.errors import DataError, summarize
from cifarzoo.extras import install_command

SERVER = "https://storage.googleapis.com"


def read(source: TfdsImages, data_dir: str | Path | None) -> OwnArrays:
    """Return the arrays of a TFDS data set with the features `image` and `label`, in the order of its files.

    Args:
        source: The settings.
        data_dir: TFDS's folder; by default `$TFDS_DATA_DIR` or TFDS's own.

    Raises:
        DataError: TFDS is not installed, does not know it or cannot download it, or it has other features or splits.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as failure:
        raise DataError(
            f"dataset.tfds: {source.tfds}: needs TensorFlow Datasets: {install_command('tfds')} ({failure})"
        ) from failure
    try:
        folder = data_dir or os.environ.get("TFDS_DATA_DIR")
        builder = tfds.builder(source.tfds, data_dir=folder and os.path.expanduser(folder))
        if not builder.is_prepared():
            _check_network()
            builder.download_and_prepare()
        names = _class_names(builder)
        sizes = [_count(builder, split) for split in (source.train, source.test)]
        _check_are_separate(tfds, builder, source)
        check_images(source.known_name, sum(sizes), source.size)
        facts = [builder.info.full_name, source.decisive(), source.train, source.test, sizes, _files(builder)]
        return cached(
            source.known_name,
            facts,
            lambda: OwnArrays(
                _split(tfds, builder, source, source.train, sizes[0]),
                _split(tfds, builder, source, source.test, sizes[1]),
                names,
            ),
        )
    except DataError as failure:
        raise DataError(f"dataset.tfds: {source.tfds}: {failure}") from None
    except Exception as failure:  # anything from network failures to a full disk
        raise DataError(f"dataset.tfds: {source.tfds}: {summarize(failure):.300}") from failure


def _check_network() -> None:
    """Check once that TFDS's server is reachable: without a network, TFDS would retry for more than three minutes."""
    import requests  # which TFDS uses for downloads

    try:
        requests.head(SERVER, timeout=20).close()
    except requests.RequestException as error:
        raise DataError(
            f"not prepared in TFDS's folder ($TFDS_DATA_DIR), and {SERVER} cannot be reached: {type(error).__name__}"
        ) from error


def _class_names(builder: Any) -> tuple[str, ...]:
    features = builder.info.features
    keys = list(features.keys()) if hasattr(features, "keys") else []
    if "image" not in keys or "label" not in keys or not hasattr(features["label"], "names"):
        raise DataError(f"expected the features image and label, which has classes; got {', '.join(keys) or 'none'}")
    names = tuple(features["label"].names)
    if len(names) < 2:
        raise DataError("has a single class; expected at least two")
    return names


def _count(builder: Any, split: str) -> int:
    try:
        return int(builder.info.splits[split].num_examples)
    except (KeyError, ValueError) as failure:
        known = ", ".join(builder.info.splits)
        raise DataError(f"no split {split!r}; the splits are {known}") from failure


def _check_are_separate(tfds: Any, builder: Any, source: TfdsImages) -> None:
    """Check that no image is named twice, such as by train: train[:80%] and test: train."""
    splits = builder.info.splits
    parts = []
    for text, split in ((f"train: {source.train}", source.train), (f"test: {source.test}", source.test)):
        for part in tfds.core.ReadInstruction.from_spec(split).to_absolute(splits):
            # TFDS leaves out the limits of a whole split.
            end = splits[part.splitname].num_examples if part.to is None else part.to
            parts.append((text, part.splitname, part.from_ or 0, end))
    for number, (text, name, first, end) in enumerate(parts):
        for other_text, other_name, other_first, other_end in parts[:number]:
            if name == other_name and max(first, other_first) < min(end, other_end):
                both = text if text == other_text else f"{other_text} and {text}"
                raise DataError(f"{both}: expected separate images, got images of {name!r} twice")


def _files(builder: Any) -> list[list[Any]]:
    """Return name, size and time of the prepared files."""
    paths = sorted(Path(builder.data_dir).iterdir())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _split(tfds: Any, builder: Any, source: TfdsImages, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    size = source.size
    images, labels = np.empty((count, size, size, 3), np.uint8), np.empty(count, np.int32)
    progress = Progress(f"{source.known_name}: reading {count:,} images of {split}")
    number = -1
    for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))):
        pixels = np.asarray(example["image"])
        if pixels.dtype != np.uint8 or pixels.ndim != 3:
            raise DataError(f"expected uint8 images, got {pixels.dtype} {list(pixels.shape)}")
        if pixels.shape != (size, size, 3):
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            pixels = to_square(as_rgb(picture), size, source.fit, source.filter)
        images[number], labels[number] = pixels, example["label"]
        progress((number + 1) / count)
    if number + 1 != count:
        raise DataError(f"{split} has {number + 1:,} images instead of {count:,}")
    return images, labels
