"""Where images of your own are, as an experiment's `dataset` says it: a folder, a file of arrays, or a TFDS data set.

Only the settings; `cifarzoo.data.own_images` reads the images.
"""

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError

from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.strict_errors import plain_error
from cifarzoo.strict_model import Name, Number, PathText, Strict, WholeNumber
from cifarzoo.strict_yaml import parse

# The key that says where the images are.
PLACES = ("folder", "arrays", "tfds")
SMALLEST, LARGEST = 8, 512  # height and width of images, in pixels
LONGEST_NAME = 100  # bytes of a name that is made of a folder's or file's


def _own_name(name: str) -> str:
    if name in CLASS_NAMES:
        raise ValueError("expected a name that no built-in data set has")
    return name


def _tfds_name(text: str) -> str:
    if not re.fullmatch(r"\w+(/[\w.+-]+)?(:[\d.*]+)?", text):
        raise ValueError("expected NAME, NAME/CONFIG or NAME:VERSION, such as svhn_cropped")
    return text


def _some_path(path: str) -> str:
    if not path:
        raise ValueError("expected a path")
    return path


class _Source(Strict):
    """What all sources share.

    Attributes:
        name: What runs and weight files record; by default that of the folder or file.
    """

    name: Annotated[Name, AfterValidator(_own_name)] | None = None

    @property
    def location(self) -> str:
        """Where the images are, as the document says it."""
        return str(getattr(self, self.place))

    @property
    def place(self) -> str:
        """The key that holds the location."""
        return next(key for key in PLACES if key in type(self).model_fields)

    @property
    def known_name(self) -> str:
        """`name`, or what stands in for it."""
        if self.name:
            return self.name
        if self.place == "tfds":  # NAME/CONFIG:VERSION
            stem = self.location.partition(":")[0].replace("/", "_")
        else:
            stem = os.path.basename(os.path.abspath(os.path.expanduser(self.location))).removesuffix(".npz")
        # The letters of any alphabet: without them the names of many folders would be equal.
        stem = re.sub(r"[^\w.+-]+", "_", unicodedata.normalize("NFC", stem)).lstrip("._+-")
        usual = stem.encode()[:LONGEST_NAME].decode(errors="ignore") or "images"
        return f"{usual}_images" if usual in CLASS_NAMES else usual

    @property
    def known_size(self) -> int | None:
        """Height and width of the images, None if only the file knows."""
        return getattr(self, "size", None)

    def decisive(self) -> dict[str, Any]:
        """Return what affects results, as plain data: not where the images are, since runs may move.

        Runs store a hash of the images beside it. Keys at their default are left out.
        """
        keys = self.model_dump(mode="json", exclude_defaults=True)
        keys.pop(self.place)
        return {"own": self.place, **keys, "name": self.known_name}


_ONE_PLACE = dict.fromkeys(PLACES, f"give only one of {', '.join(PLACES)}")


class _Resized(_Source):
    """Sources whose images may have any size.

    Attributes:
        size: Height and width after resizing, in pixels.
        fit: How an image that is not square becomes so: "crop" takes the square in its middle, "squash" all of it.
        filter: Pillow's filter for resizing, each with antialiasing where it reduces, except "nearest".
        train: The folder in it, or the split of TFDS, to train on; several are joined by "+".
        test: The same to test on.
    """

    size: WholeNumber = Field(32, ge=SMALLEST, le=LARGEST)
    fit: Literal["crop", "squash"] = "crop"
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bicubic"


class ImageFolder(_Resized):
    """A folder with a folder of images per class.

    Attributes:
        folder: Its path. It holds `train` and `test` with class folders in each, or else the class folders themselves.
        test_share: In the second case, the share of each class that is held out as test images.
        seed: In the second case, which images these are.
    """

    hints = _ONE_PLACE

    folder: Annotated[PathText, AfterValidator(_some_path)]
    train: PathText = "train"
    test: PathText = "test"
    test_share: Number = Field(0.2, gt=0, lt=1)
    seed: WholeNumber = Field(0, ge=0, lt=2**31)


class ArraysFile(_Source):
    """An .npz file with uint8 `x_train`, `y_train`, `x_test`, `y_test` and perhaps `class_names`."""

    hints = _ONE_PLACE | dict.fromkeys(("size", "fit", "filter"), "the arrays are used as they are, without resizing")

    arrays: Annotated[PathText, AfterValidator(_some_path)]


class TfdsImages(_Resized):
    """A data set of TensorFlow Datasets that has the features `image` and `label`."""

    hints = _ONE_PLACE

    tfds: Annotated[str, AfterValidator(_tfds_name), Field(max_length=200)]
    train: PathText = "train"
    test: PathText = "test"


OwnData = ImageFolder | ArraysFile | TfdsImages
SOURCES = dict(zip(PLACES, (ImageFolder, ArraysFile, TfdsImages), strict=True))


def _form(value: Any) -> str | None:
    """Return the tag of the union of a name and the three sources."""
    if isinstance(value, str):
        return "str"
    if isinstance(value, dict):
        return next((source.__name__ for place, source in SOURCES.items() if place in value), None)
    return type(value).__name__ if isinstance(value, _Source) else None


# The type of `Experiment.dataset`.
DatasetSource = Annotated[
    Annotated[Name, Tag("str")]
    | Annotated[ImageFolder, Tag("ImageFolder")]
    | Annotated[ArraysFile, Tag("ArraysFile")]
    | Annotated[TfdsImages, Tag("TfdsImages")],
    Discriminator(
        _form,
        custom_error_type="dataset",
        custom_error_message=f"expected {', '.join(CLASS_NAMES)}, {{folder: PATH}}, {{arrays: FILE.npz}} or "
        "{tfds: NAME}",
    ),
]


class _Document(Strict):
    dataset: DatasetSource


def source_from(value: Any) -> OwnData:
    """Return the checked settings of images of the user's own.

    Args:
        value: The settings, or a mapping with `folder`, `arrays` or `tfds`.

    Raises:
        ExperimentError: a key or value does not fit; one line per mistake.
    """
    if isinstance(value, _Source):
        return value  # type: ignore[return-value]
    document = {"dataset": dict(value) if isinstance(value, Mapping) else value}
    try:
        return _Document.model_validate(document).dataset  # type: ignore[return-value]
    except ValidationError as failure:
        raise plain_error(failure, _Document, document) from None


def source_from_text(text: str) -> str | OwnData:
    """Return the data set that a command line's `--dataset` means.

    Args:
        text: The path of a folder or of an .npz file, `tfds:NAME`, or a mapping as in an experiments file; anything
            else is returned as the name of a built-in data set.

    Raises:
        ExperimentError: a setting in the mapping does not fit.
    """
    if text.lstrip().startswith("{"):
        return source_from(parse(text, "--dataset"))
    if text in CLASS_NAMES:
        return text
    if text.startswith("tfds:"):
        return source_from({"tfds": text.removeprefix("tfds:")})
    if text.endswith(".npz"):
        return source_from({"arrays": text})
    return source_from({"folder": text}) if Path(text).expanduser().is_dir() else text
