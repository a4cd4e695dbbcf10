"""What all augmentations share: the base class of their parameters, colors, and what kernels know of the data set."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Discriminator, Field, PrivateAttr, Tag, model_validator

from cifarzoo.strict_model import Strict, WholeNumber
from cifarzoo.strict_yaml import quoted

CIFAR10_MEAN = (125, 123, 114)


def form(value):
    """Return which of a name and a list a value is: "str" or "list", the tags of the unions of the two; else None."""
    return "str" if isinstance(value, str) else "list" if isinstance(value, list | tuple) else None


Channel = Annotated[WholeNumber, Field(ge=0, le=255)]
# The mean color of the data set, or a color [red, green, blue].
Color = Annotated[
    Annotated[Literal["mean"], Tag("str")] | Annotated[tuple[Channel, Channel, Channel], Tag("list")],
    Discriminator(
        form, custom_error_type="color", custom_error_message="expected mean or [red, green, blue] from 0 to 255"
    ),
]


class DatasetFacts(NamedTuple):
    """What kernels need to know about the data set.

    Attributes:
        classes: Number of classes; mixed labels have so many columns.
        mean_color: Mean color of the training images (0-255).
    """

    classes: int = 10
    mean_color: tuple[int, int, int] = CIFAR10_MEAN

    def color(self, fill: Literal["mean"] | tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the color (0-255) that a spec's `fill` stands for."""
        return self.mean_color if fill == "mean" else fill


class Entry(NamedTuple):
    """An entry of the list, split into its parts: as it is in the document, the name, and the parameters."""

    document: str | dict
    name: str
    parameters: dict


class Spec(Strict):
    """The parameters of one augmentation, checked.

    Attributes:
        name: The name of the entry in a list.
        kernel: The function that transforms a batch, as "module.function" within `cifarzoo.augment`. It takes the spec
            and what `cifarzoo.augment.pipeline.Kernel` lists. A class is constructed with the spec, once, and its
            instance is the function.
        fits_xla: Whether XLA compiles it on every device; the user's own code need not.
        file_keys: Keys that `with_files` replaces by other ones.
        draws_per_image: How many uniform random numbers the kernel draws per image.
        draws_per_batch: How many it draws for the batch as a whole.
    """

    name: ClassVar[str]
    kernel: ClassVar[str]
    fits_xla: ClassVar[bool] = True
    file_keys: ClassVar[tuple[str, ...]] = ()

    _document: Any = PrivateAttr(None)

    @property
    def draws_per_image(self) -> int:
        """None."""
        return 0

    @property
    def draws_per_batch(self) -> int:
        """None."""
        return 0

    def misfit(self, image_size: int) -> str:
        """Return why images of this height and width are too small for the parameters; "" if they are not."""
        return ""

    @classmethod
    def with_files(cls, parameters: dict, folders: list[Path]) -> dict:
        """Return the parameters with the contents of files in place of their names.

        Args:
            parameters: As in the document. They are returned as they are unless they name a file.
            folders: Where to look for a relative path before the working directory.

        Raises:
            ValueError: a file is missing or wrong.
        """
        return parameters

    def as_entry(self) -> Any:
        """Return the entry as plain data: as it was in the document, with the contents of files."""
        if self._document is not None:
            return self._document
        parameters = self.model_dump(mode="json", exclude_unset=True)
        return {self.name: parameters} if parameters else self.name

    @model_validator(mode="wrap")
    @classmethod
    def _from_entry(cls, value, handler, info):
        entry = value if isinstance(value, Entry) else None
        parameters = entry.parameters if entry else value
        if not isinstance(parameters, dict):
            return handler(parameters)
        complete = cls.with_files(parameters, (info.context or {}).get("folders", []))
        if unknown := [quoted(key) for key in complete if key not in cls.model_fields]:
            known = ", ".join((*cls.file_keys, *cls.model_fields)) or "none"
            raise ValueError(f"unknown parameter {', '.join(unknown)}; known are {known}")
        spec = handler(complete)
        if entry:
            spec._document = entry.document if complete is parameters else {cls.name: complete}
        return spec
