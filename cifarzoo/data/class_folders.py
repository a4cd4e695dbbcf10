"""List the images of a folder that has a folder of images per class.

Canonical order is by the SHA-256 of "CLASS/FILE": it mixes the classes, is the same on every machine, and new images do
not change the order of the others. The held-out test images of a folder without `train` and `test` are chosen by such
hashes, too, so that they stay held out when images are added.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cifarzoo.data.folder_walk import Walk, is_hidden, is_picture
from cifarzoo.data.own_data import ImageFolder
from cifarzoo.errors import DataError

logger = logging.getLogger("cifarzoo")

# Names of folders that hold a split, such as Training and Test, or seg_train and seg_test.
TRAINING = re.compile("train(?!er)", re.IGNORECASE)
HELD_OUT = re.compile("(?<![a-z])(test(ing)?|val(id(ation)?)?|eval(uation)?|dev)(?![a-z])", re.IGNORECASE)


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
        DataError: there is no such folder, it or a folder in it cannot be read, it holds fewer than two classes, an
            image lies in no class folder or in two, a class has too few images, or test images are training images
            or have a class that training images lack.
    """
    root = Path(os.path.expanduser(source.folder))
    try:
        if not root.is_dir():
            raise DataError(f"dataset.folder: {root}: {'is not a folder' if root.exists() else 'no such folder'}")
        walk = Walk(root)
        listing = _listing(root, source, walk)
        walk.report()
        return listing
    except OSError as failure:
        raise DataError(
            f"dataset.folder: {failure.filename or root}: cannot be read ({failure.strerror or failure})"
        ) from None


def _listing(root: Path, source: ImageFolder, walk: Walk) -> Listing:
    has_usual_names = (source.train, source.test) == ("train", "test")
    if has_usual_names and not _has_class_folders(root / "train"):
        _check_holds_classes(root)
        return _held_out(root, walk.by_class(root), source)
    _check_are_separate(root, source)
    train = _joined(root, source.train, "train", walk)
    test = _joined(root, source.test, "test", walk)
    _check_classes(root / source.train, list(train))
    if unknown := sorted(set(test) - set(train)):
        raise DataError(
            f"{root / source.test}: class {unknown[0]!r} has test images but no training images; the training images "
            f"have {_some(train)}"
        )
    names = _ordered(train)
    return Listing(names, _in_order(names, train), _in_order(names, test))


def _check_are_separate(root: Path, source: ImageFolder) -> None:
    """Check that the folders to train and to test on do not overlap."""
    named = [("train", name) for name in source.train.split("+")] + [("test", name) for name in source.test.split("+")]
    for number, (key, name) in enumerate(named):
        folder = (root / name).resolve()
        for other_key, other in named[:number]:
            before = (root / other).resolve()
            if folder.is_relative_to(before) or before.is_relative_to(folder):
                keys = f"dataset.{key}" if key == other_key else f"dataset.{other_key} and dataset.{key}"
                names = (
                    f"the same folder, {name!r}" if folder == before else f"{other!r} and {name!r}, one in the other"
                )
                raise DataError(f"{keys}: {root}: expected separate folders, got {names}")


def _check_holds_classes(root: Path) -> None:
    """Check that the folders in a folder are classes, and not splits that hold the same classes each."""
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not is_hidden(entry.name)]
    nested = [folder for folder in folders if not any(is_picture(entry.name) for entry in folder.iterdir())]
    train = [folder.name for folder in folders if TRAINING.search(folder.name)]
    held_out = [folder.name for folder in folders if HELD_OUT.search(folder.name)]
    are_splits = len(train) + len(held_out) == len(folders) or {*train, *held_out} <= {folder.name for folder in nested}
    if train and held_out and are_splits:
        raise DataError(
            f"{root}: {train[0]} and {held_out[0]} look like splits instead of classes; write {{folder: {root}, train: "
            f"{train[0]}, test: {held_out[0]}}}, each with a folder per class"
        )
    inside = [{entry.name for entry in folder.iterdir() if entry.is_dir()} for folder in nested]
    if len(nested) == len(folders) > 1 and len(shared := set.intersection(*inside)) > 1:
        logger.warning(
            "%s: its classes are %s, and each of them has the folders %s; if these are the classes, say which folders "
            "to train and to test on: dataset.train, dataset.test",
            root,
            _some(folder.name for folder in folders),
            _some(shared),
        )


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


def _joined(root: Path, folders: str, key: str, walk: Walk) -> dict[str, dict[str, str]]:
    """Return the images of one or several folders, as "train+valid" names them, by class."""
    joined: dict[str, dict[str, str]] = {}
    for name in folders.split("+"):
        folder = root / name
        if not folder.is_dir():
            others = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
            raise DataError(
                f"{folder}: no such folder; dataset.{key} names the folder of images to {key} on, and {root} has "
                f"{', '.join(others) or 'none':.200}"
            )
        for label, files in walk.by_class(folder, may_lack=key == "test").items():
            # Equal names in several folders are different images.
            prefix = f"{name}/" if "+" in folders else ""
            joined.setdefault(label, {}).update({f"{prefix}{k}": path for k, path in files.items()})
    return joined


def _has_class_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() and not is_hidden(entry.name) for entry in folder.iterdir())


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


def _some(names: Iterable[str]) -> str:
    return f"{', '.join(sorted(names)):.200}"
