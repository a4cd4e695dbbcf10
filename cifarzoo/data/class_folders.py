"""List the images of a folder that has a folder of images per class.

Canonical order is by the SHA-256 of "CLASS/FILE": it mixes the classes, is the same on every machine, and new images do
not change the order of the others. The held-out test images of a folder without `train` and `test` are chosen by such
hashes, too, so that they stay held out when images are added.
"""

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cifarzoo.data.own_data import ImageFolder
from cifarzoo.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
ANNOTATIONS = "val_annotations.txt"  # Tiny ImageNet's test images lie in one folder; this file has their classes


@dataclass(frozen=True)
class ImageFile:
    """An image that has not been opened yet.

    Attributes:
        path: Its path, as text, because a hundred thousand `Path` objects take seconds.
        key: "CLASS/FILE", with / between folders.
        label: Number of its class.
    """

    path: str
    key: str
    label: int


@dataclass(frozen=True)
class Listing:
    """The images of a folder in canonical order."""

    class_names: tuple[str, ...]
    train: list[ImageFile]
    test: list[ImageFile]


def list_images(source: ImageFolder) -> Listing:
    """List the images that a folder holds for training and for testing.

    Raises:
        DataError: there is no such folder, it holds fewer than two classes, an image lies in no class folder, a class
            has too few images, or test images have a class that training images lack.
    """
    root = Path(source.folder).expanduser()
    if not root.is_dir():
        raise DataError(f"dataset.folder: {root}: {'is not a folder' if root.exists() else 'no such folder'}")
    has_usual_names = (source.train, source.test) == ("train", "test")
    if has_usual_names and not _has_class_folders(root / "train"):
        return _held_out(root, _by_class(root), source)
    train = _joined(root, source.train, "train")
    test = _joined(root, source.test, "test")
    _check_classes(root / source.train, list(train))
    if unknown := sorted(set(test) - set(train)):
        raise DataError(
            f"{root / source.test}: class {unknown[0]!r} has test images but no training images; the training images "
            f"have {_some(train)}"
        )
    names = _ordered(train)
    return Listing(names, _in_order(names, train), _in_order(names, test))


def _held_out(root: Path, classes: dict[str, dict[str, str]], source: ImageFolder) -> Listing:
    """Hold out a share of every class as test images."""
    _check_classes(root, list(classes))
    train: dict[str, dict[str, str]] = {}
    test: dict[str, dict[str, str]] = {}
    for name, files in classes.items():
        if len(files) < 2:
            raise DataError(f"{root / name}: has one image; expected at least two, one to train and one to test on")
        chosen = sorted(files, key=lambda key: _hash(f"{source.seed}:{key}"))
        count = min(max(1, round(source.test_share * len(files))), len(files) - 1)
        test[name] = {key: files[key] for key in chosen[:count]}
        train[name] = {key: files[key] for key in chosen[count:]}
    names = _ordered(classes)
    return Listing(names, _in_order(names, train), _in_order(names, test))


def _joined(root: Path, folders: str, key: str) -> dict[str, dict[str, str]]:
    """Return the images of one or several folders, as "train+valid" names them, by class."""
    joined: dict[str, dict[str, str]] = {}
    for name in folders.split("+"):
        folder = root / name
        if not folder.is_dir():
            others = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _is_hidden(entry.name))
            raise DataError(
                f"{folder}: no such folder; dataset.{key} names the folder of images to {key} on, and {root} has "
                f"{', '.join(others) or 'none':.200}"
            )
        for label, files in _by_class(folder, may_lack=key == "test").items():
            # Equal names in several folders are different images.
            prefix = f"{name}/" if "+" in folders else ""
            joined.setdefault(label, {}).update({f"{prefix}{k}": path for k, path in files.items()})
    return joined


def _by_class(folder: Path, may_lack: bool = False) -> dict[str, dict[str, str]]:
    """Return the images of a folder of class folders: per class, paths by "CLASS/FILE".

    Args:
        folder: The folder.
        may_lack: Whether a class may have no image, as in a small test split.

    Raises:
        DataError: an image lies in no class folder, or a class folder has no image.
    """
    if (folder / ANNOTATIONS).is_file():
        return _annotated(folder)
    classes: dict[str, dict[str, str]] = {}
    for entry in sorted(folder.iterdir()):
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            name = unicodedata.normalize("NFC", entry.name)
            classes[name] = {f"{name}/{key}": path for key, path in images_in(entry)}
        elif entry.suffix.lower() in SUFFIXES:
            raise DataError(f"{entry}: lies in no class folder; move every image into a folder named after its class")
    if not classes:
        raise DataError(f"{folder}: is empty; expected a folder of images per class")
    if not any(classes.values()):
        raise DataError(f"{folder}: has no image in its folders; expected {', '.join(sorted(SUFFIXES))} files")
    if (empty := [name for name, files in classes.items() if not files]) and not may_lack:
        raise DataError(f"{folder / empty[0]}: has no image; remove the folder, or add images of this class")
    return classes


def images_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the images below a folder: their paths relative to it, and their paths."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()  # a link to a folder above it
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        below = Path(parent).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(files):
            if not _is_hidden(name) and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield unicodedata.normalize("NFC", prefix + name), os.path.join(parent, name)


def _annotated(folder: Path) -> dict[str, dict[str, str]]:
    """Read Tiny ImageNet's list: lines of a file's name, a tab, its class, and the corners of a box."""
    path = folder / ANNOTATIONS
    classes: dict[str, dict[str, str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as failure:
        raise DataError(f"{path}: cannot be read ({failure})") from None
    for number, line in enumerate(lines, start=1):
        name, label, *_ = [*line.split("\t"), ""]
        image = folder / "images" / name
        if not label or name != Path(name).name or not image.is_file():
            raise DataError(f"{path}, line {number}: expected an image in images/ and its class, got {line:.60}")
        classes.setdefault(label, {})[f"{label}/{name}"] = str(image)
    return classes


def _has_class_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() and not _is_hidden(entry.name) for entry in folder.iterdir())


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _check_classes(folder: Path, names: list[str]) -> None:
    if len(names) == 1:
        raise DataError(f"{folder}: has a single class, {names[0]!r}; expected at least two class folders")


def _ordered(classes: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """Order the names of classes: by number if all are numbers, else as text."""
    numbers = all(name.isdecimal() for name in classes)
    return tuple(sorted(classes, key=lambda name: (int(name) if numbers else 0, name)))


def _in_order(names: tuple[str, ...], classes: dict[str, dict[str, str]]) -> list[ImageFile]:
    label_of = {name: label for label, name in enumerate(names)}
    files = [ImageFile(path, key, label_of[name]) for name, images in classes.items() for key, path in images.items()]
    return sorted(files, key=lambda file: (_hash(file.key), file.key))


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _some(names: dict[str, dict[str, str]]) -> str:
    return f"{', '.join(sorted(names)):.200}"
