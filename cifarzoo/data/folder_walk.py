"""Walk through folders of class folders, and through Tiny ImageNet's folder of test images with a list of classes."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cifarzoo.errors import DataError

logger = logging.getLogger("cifarzoo")

SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
NOT_READ = {".heic", ".heif", ".avif", ".jp2", ".jxl", ".tga", ".psd", ".dng", ".svg", ".eps"}
ANNOTATIONS = "val_annotations.txt"  # Tiny ImageNet's test images lie in one folder; this file has their classes


class Walk:
    """Lists the images of folders of class folders, each image once.

    Args:
        root: The data set's folder.
    """

    def __init__(self, root: Path):
        self._root = root
        # The class folder that each folder, without links, was listed for.
        self._visited: dict[str, str] = {}
        self._not_read: Counter[str] = Counter()

    def report(self) -> None:
        """Log a warning about pictures that are not read."""
        if self._not_read:
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(self._not_read.items()))
            logger.warning("%s: without %s files, which are not read; convert them to PNG", self._root, kinds)

    def by_class(self, folder: Path, may_lack: bool = False) -> dict[str, dict[str, str]]:
        """Return the images of a folder of class folders: per class, paths by "CLASS/FILE".

        Args:
            folder: The folder.
            may_lack: Whether a class may have no image, as in a small test split.

        Raises:
            DataError: an image lies in no class folder or in two, a class has no image, or two images have one name.
        """
        if (folder / ANNOTATIONS).is_file():
            return _annotated(folder)
        classes: dict[str, dict[str, str]] = {}
        for entry in sorted(folder.iterdir()):
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                # Of one name there may be two folders: a Mac writes accents as characters of their own.
                name = unicodedata.normalize("NFC", entry.name)
                images = classes.setdefault(name, {})
                for below, path in self.images_in(entry):
                    if (other := images.setdefault(f"{name}/{below}", path)) != path:
                        raise DataError(
                            f"{path}: has the name of another image, {other}, in another Unicode form; rename one"
                        )
            elif entry.is_symlink() and not entry.exists():
                raise DataError(f"{entry}: is a link to {os.readlink(entry)}, which does not exist")
            elif is_picture(entry.name):
                raise DataError(
                    f"{entry}: lies in no class folder; move every image into a folder named after its class"
                )
        if not classes:
            raise DataError(f"{folder}: is empty; expected a folder of images per class")
        if not any(classes.values()):
            raise DataError(f"{folder}: has no image in its folders; expected {', '.join(sorted(SUFFIXES))} files")
        if (empty := [name for name, files in classes.items() if not files]) and not may_lack:
            raise DataError(f"{folder / empty[0]}: has no image; remove the folder, or add images of this class")
        return classes

    def images_in(self, folder: Path) -> Iterator[tuple[str, str]]:
        """Yield the images below a folder, such as that of a class: their paths relative to it, and their paths.

        Raises:
            DataError: an image lies in two class folders. OSError: a folder cannot be read.
        """
        top = Path(os.path.realpath(folder))
        for parent, folders, files in os.walk(folder, followlinks=True, onerror=_fail):
            real = os.path.realpath(parent)
            if real in self._visited and self._visited[real] != str(folder):
                raise DataError(
                    f"{parent}: leads to the images of {self._visited[real]}; an image has one class, in one split"
                )
            if real in self._visited or (real != str(top) and top.is_relative_to(real)):
                folders.clear()  # a second link to it, or a link to a folder above, which has other classes
                continue
            self._visited[real] = str(folder)
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            below = Path(parent).relative_to(folder).as_posix()
            prefix = "" if below == "." else f"{below}/"
            for name in sorted(files):
                if not is_hidden(name) and is_picture(name):
                    yield unicodedata.normalize("NFC", prefix + name), os.path.join(parent, name)
                elif (suffix := os.path.splitext(name)[1].lower()) in NOT_READ:
                    self._not_read[suffix] += 1


def _fail(failure: OSError) -> None:
    """Raise what `os.walk` would pass over: images that cannot be read must not be missing."""
    raise failure


def is_picture(name: str) -> bool:
    """Whether a file's name has the suffix of a picture."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _annotated(folder: Path) -> dict[str, dict[str, str]]:
    """Read Tiny ImageNet's list: lines of a file's name, a tab, its class, and the corners of a box."""
    path = folder / ANNOTATIONS
    classes: dict[str, dict[str, str]] = {}
    names: set[str] = set()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as failure:
        raise DataError(f"{path}: cannot be read ({failure})") from None
    for number, line in enumerate(lines, start=1):
        name, label, *_ = [*line.split("\t"), ""]
        image = folder / "images" / name
        if not label or name != Path(name).name or not image.is_file():
            raise DataError(f"{path}, line {number}: expected an image in images/ and its class, got {line:.60}")
        if name in names:
            raise DataError(f"{path}, line {number}: {name} is listed a second time")
        names.add(name)
        classes.setdefault(label, {})[f"{label}/{name}"] = str(image)
    return classes


def is_hidden(name: str) -> bool:
    """Whether a system keeps a file or folder of this name for itself."""
    return name.startswith((".", "__MACOSX", "@eaDir", "lost+found"))
