"""Read images of the user's own into arrays: from a folder, from a file of arrays, or through TFDS."""

import os
from pathlib import Path
from typing import Any

from cifarzoo.data.image_cache import OwnArrays, cached
from cifarzoo.data.memory import check_images
from cifarzoo.data.own_data import ArraysFile, ImageFolder, OwnData
from cifarzoo.errors import DataError


def read(source: OwnData, data_dir: str | Path | None = None) -> OwnArrays:
    """Return the arrays that `dataset: {...}` of an experiment means.

    Args:
        source: The settings.
        data_dir: For TFDS, its folder.

    Raises:
        DataError: something is missing, damaged or too large; the message names the file.
    """
    if isinstance(source, ImageFolder):
        return _read_folder(source)
    if isinstance(source, ArraysFile):
        from cifarzoo.data.arrays_file import read_arrays

        return read_arrays(source.known_name, Path(source.arrays))
    from cifarzoo.data import tfds_images  # only now: it brings TensorFlow

    return tfds_images.read(source, data_dir)


def _read_folder(source: ImageFolder) -> OwnArrays:
    import numpy as np

    from cifarzoo.data.class_folders import ImageFile, list_images

    listing, name = list_images(source), source.known_name
    check_images(name, len(listing.train) + len(listing.test), source.size)

    def decode() -> OwnArrays:
        from cifarzoo.data.pictures import read_pictures

        paths = [file.path for file in (*listing.train, *listing.test)]
        images = read_pictures(name, paths, source.size, source.fit, source.filter)
        labels = np.array([file.label for file in (*listing.train, *listing.test)], np.int32)
        count = len(listing.train)
        return OwnArrays((images[:count], labels[:count]), (images[count:], labels[count:]), listing.class_names)

    def facts(files: list[ImageFile]) -> list[list[Any]]:
        try:
            stats = [(file, os.stat(file.path)) for file in files]
        except OSError as failure:  # a link to nowhere
            raise DataError(f"{failure.filename}: cannot be read ({failure.strerror})") from None
        return [[file.key, file.label, stat.st_size, stat.st_mtime_ns] for file, stat in stats]

    settings = [source.size, source.fit, source.filter, str(Path(source.folder).expanduser().resolve())]
    return cached(name, [settings, listing.class_names, facts(listing.train), facts(listing.test)], decode)
