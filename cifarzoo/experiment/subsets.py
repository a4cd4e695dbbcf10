"""Splits of an experiment: by name, or as a mapping that describes a part of a training split."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cifarzoo.data.subsets import is_subset, parse
from cifarzoo.errors import DataError
from cifarzoo.strict_model import Number, PathText, PositiveWholeNumber, Strict, WholeNumber

FOLD = r"[0-9]+/[0-9]+"


class SubsetParameters(Strict):
    """A part of a training split; see `cifarzoo.data.subsets`. The keys apply in the order in which they are here."""

    of: "SubsetParameters | str" = "train45k"
    images: PositiveWholeNumber | None = None
    fold: Annotated[str, Field(pattern=FOLD)] | None = None
    without_fold: Annotated[str, Field(pattern=FOLD)] | None = None
    held_out: Annotated[Number, Field(gt=0, lt=1)] | None = None
    rest: Annotated[Number, Field(gt=0, lt=1)] | None = None
    indices: PathText | None = None
    seed: Annotated[WholeNumber, Field(ge=0, lt=10**9)] = 0

    def __str__(self) -> str:
        steps = [str(self.of)]
        for key in ("images", "fold", "without_fold", "held_out", "rest", "indices"):
            if (value := getattr(self, key)) is not None:
                steps.append(f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}")
                steps += [f"seed={self.seed}"] if self.seed and key != "indices" else []
        return ":".join(steps)


def _name(value: Any) -> Any:
    """Return the name of a split that may be written as a mapping."""
    if isinstance(value, dict):
        value = str(SubsetParameters.model_validate(value))
        if not is_subset(value):
            raise ValueError("expected one of images, fold, without_fold, held_out, rest and indices beside `of`")
    if isinstance(value, str) and is_subset(value):
        try:
            return str(parse(value))
        except DataError as failure:
            raise ValueError(str(failure)) from None
    return value


def _split(*names: str) -> Any:
    def check(value: Any) -> Any:
        name = _name(value)
        if not isinstance(name, str) or (not is_subset(name) and name not in names):
            raise ValueError(f"expected {', '.join(names)}, or a part such as {{of: train45k, fold: 2/5}}")
        return name

    return BeforeValidator(check, json_schema_input_type=Literal[names] | str | SubsetParameters)


TrainSplit = Annotated[str, _split("train", "train45k")]
ValSplit = Annotated[str, _split("test", "validation")]
