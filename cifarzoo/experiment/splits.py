"""Splits of an experiment: by name, or as a mapping that describes a part of a training split."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cifarzoo.data.subsets import Step, is_subset, parse
from cifarzoo.errors import DataError
from cifarzoo.strict_model import Number, PathText, PositiveWholeNumber, Strict, WholeNumber

FOLD = r"^[0-9]+/[0-9]+$"
# Keys of a part, of which one at a time is valid.
SPLIT_CHOICES = ("fold", "without_fold", "held_out", "rest", "indices")


class SubsetParameters(Strict):
    """A part of a training split; see `cifarzoo.data.subsets`. `images` applies first, then the one other choice."""

    of: "SubsetParameters | str" = "train45k"
    images: PositiveWholeNumber | None = None
    fold: Annotated[str, Field(pattern=FOLD)] | None = None
    without_fold: Annotated[str, Field(pattern=FOLD)] | None = None
    held_out: Annotated[Number, Field(gt=0, lt=1)] | None = None
    rest: Annotated[Number, Field(gt=0, lt=1)] | None = None
    indices: PathText | None = None
    seed: Annotated[WholeNumber, Field(ge=0, lt=10**9)] = 0

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if len(keys := [key for key in SPLIT_CHOICES if getattr(self, key) is not None]) > 1:
            raise ValueError(f"expected at most one of {', '.join(keys)}; nest with `of` to choose twice")
        if self.seed and self.images is None and keys in ([], ["indices"]):
            raise ValueError("seed: nothing is drawn; leave it out")
        return self

    def steps(self) -> tuple[Step, ...]:
        """Return the steps of this mapping and of those that it is nested in."""
        before = self.of.steps() if isinstance(self.of, SubsetParameters) else ()
        seed = self.seed
        own = [] if self.images is None else [Step("images", self.images, seed)]
        for key in SPLIT_CHOICES:
            if (value := getattr(self, key)) is not None:
                if isinstance(value, str) and key != "indices":
                    fold, folds = map(int, value.split("/"))
                    value = (fold, folds)
                own.append(Step(key, value, 0 if key == "indices" else seed))
        return *before, *own


def _name(value: Any) -> Any:
    """Return the name of a split that may be written as a mapping."""
    if isinstance(value, dict):
        value = _text(SubsetParameters.model_validate(value))
        if not is_subset(value):
            raise ValueError("expected one of images, fold, without_fold, held_out, rest and indices beside `of`")
    if isinstance(value, str) and is_subset(value):
        try:
            return str(parse(value))
        except DataError as failure:
            raise ValueError(str(failure)) from None
    return value


def _text(part: SubsetParameters) -> str:
    base: Any = part
    while isinstance(base, SubsetParameters):
        base = base.of
    return ":".join([base, *map(str, part.steps())])


def _split(*names: str) -> Any:
    def check(value: Any) -> Any:
        name = _name(value)
        if not isinstance(name, str) or (not is_subset(name) and name not in names):
            raise ValueError(f"expected {', '.join(names)}, or a part such as {{of: train45k, fold: 2/5}}")
        return name

    return BeforeValidator(check, json_schema_input_type=Literal[names] | str | SubsetParameters)


TrainSplit = Annotated[str, _split("train", "train45k")]
ValSplit = Annotated[str, _split("test", "validation")]
