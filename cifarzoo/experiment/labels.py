"""The keys `labels` and `drop` of an experiment: other labels for its training images, and images to leave out."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_serializer, model_validator

from cifarzoo.augment.base import form
from cifarzoo.strict_model import Boolean, Number, PathText, Strict, WholeNumber
from cifarzoo.strict_yaml import excerpt

Rate = Annotated[Number, Field(ge=0, le=1)]


def _class(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("expected the name or number of a class")
    return value


Class = Annotated[Any, BeforeValidator(_class)]


def _from_list(value: Any) -> Any:
    """Read pairs as `Labels.as_written` returns them: a list of [FROM, TO]."""
    if not isinstance(value, list):
        return value
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise ValueError("expected {FROM: TO, ...} of classes, or a list of [FROM, TO]")
    if any(isinstance(old, dict | list) for old, _ in value):
        raise ValueError("expected the names or numbers of classes")
    return dict(value)


Pairs = Annotated[dict[Class, Class], Field(min_length=1), BeforeValidator(_from_list)]


class LabelFile(Strict):
    """An array of labels: the path of a .npy file, or one array of a file with several, by its key."""

    file: PathText
    key: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @model_serializer(mode="plain")
    def _as_written(self) -> Any:
        return self.file if self.key is None else {"file": self.file, "key": self.key}


class Labels(Strict):
    """Labels to train on instead of the data set's own: of files, or with synthetic noise.

    Attributes:
        file, key: Labels of the training images, as in `LabelFile`.
        train, test: Labels of the training and of the test images.
        symmetric: Probability that a label is replaced by another one, any class being equally likely.
        include_true: Whether the label may be replaced by itself.
        asymmetric: Probability that a label is replaced by the one that `pairs` has for it.
        pairs: From classes to classes, by names or numbers; by default those of Patrini et al. 2017 for CIFAR.
        seed: Of the noise.
    """

    file: PathText | None = None
    key: str | None = None
    train: LabelFile | None = None
    test: LabelFile | None = None
    symmetric: Rate | None = None
    include_true: Boolean = False
    asymmetric: Rate | None = None
    pairs: Pairs | None = None
    seed: WholeNumber = Field(0, ge=0, lt=2**31)

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        keys = self.model_fields_set
        noise = {"seed"}
        kinds = {
            "file": {"key"},
            "train": {"test"},
            "test": {"train"},
            "symmetric": {"include_true", *noise},
            "asymmetric": {"pairs", *noise},
        }
        if not any(kind in keys and keys <= {kind, *options} for kind, options in kinds.items()):
            raise ValueError(
                "expected only one of a file, {file, key}, {train, test}, {symmetric, seed, include_true} or "
                f"{{asymmetric, seed, pairs}}, got {excerpt(self.as_written())}"
            )
        return self

    @model_serializer(mode="plain")
    def as_written(self) -> dict[str, Any]:
        """Return the keys of the document as plain data, so that a key added later changes no fingerprint."""
        values = {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}
        if any(isinstance(old, int) for old in self.pairs or ()):
            # Keys of JSON are text, and a class may have a number as its name.
            values["pairs"] = [list(pair) for pair in (self.pairs or {}).items()]
        return {key: value.model_dump() if isinstance(value, Strict) else value for key, value in values.items()}

    @property
    def files(self) -> dict[str, LabelFile]:
        """The file of each split that has one, "train" or "test"."""
        train = self.train if self.file is None else LabelFile(file=self.file, key=self.key)
        return {split: file for split, file in (("train", train), ("test", self.test)) if file is not None}


def _positions_file(path: str) -> str:
    if not path.endswith((".npy", ".txt")):
        raise ValueError("expected a list of positions, or a .npy or .txt file of them")
    return path


# Positions in the training split, or the path of a .npy or .txt file of them.
Drop = Annotated[
    Annotated[list[Annotated[WholeNumber, Field(ge=0)]], Field(min_length=1), Tag("list")]
    | Annotated[PathText, AfterValidator(_positions_file), Tag("str")],
    Discriminator(
        form,
        custom_error_type="drop",
        custom_error_message="expected a list of positions, or a .npy or .txt file of them",
    ),
]
