"""Learning-rate schedules: checked parameters, and the learning rates of a range of steps as an array.

A duration has exactly one unit: `{steps: 64000}`, `{epochs: 200}` or `{images: 8000000}`; the text `200 epochs` means
the same, and a bare number means steps. An epoch is one pass over the training split: `epochs` times its size divided
by the batch size, rounded.
"""

import itertools
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from cifarzoo.strict_model import Number, PositiveNumber, Strict, WholeNumber, as_number, is_number
from cifarzoo.strict_yaml import excerpt, quoted

# Steps are int32 on every device.
MAX_STEPS = 2**31 - 1
MAX_IMAGES = 2**53


class Duration(Strict):
    """A length of training in exactly one unit."""

    steps: WholeNumber | None = Field(None, ge=0, le=MAX_STEPS)
    epochs: Number | None = Field(None, ge=0, le=MAX_STEPS)
    images: WholeNumber | None = Field(None, ge=0, le=MAX_IMAGES)

    @model_validator(mode="before")
    @classmethod
    def _known_units(cls, value: Any) -> Any:
        if isinstance(value, dict) and (unknown := [quoted(unit) for unit in value if unit not in cls.model_fields]):
            raise ValueError(f"a duration is in {', '.join(cls.model_fields)}, not {', '.join(unknown)}")
        return value

    @model_validator(mode="after")
    def _one_unit(self) -> "Duration":
        units = [unit for unit in ("steps", "epochs", "images") if getattr(self, unit) is not None]
        if len(units) != 1:
            raise ValueError(f"a duration has exactly one of steps, epochs, images; got {', '.join(units) or 'none'}")
        return self

    def in_steps(self, images_per_epoch: int, batch_size: int) -> int:
        """Convert to steps, rounded to the nearest."""
        if self.steps is not None:
            return self.steps
        images = (self.epochs or 0) * images_per_epoch if self.images is None else self.images
        return round(images / batch_size)


_UNITS = {unit: f"{unit}s" for unit in ("step", "epoch", "image")}


def _as_mapping(value: Any) -> Any:
    """Return a number of steps, or text such as "5 epochs", as a mapping."""
    if isinstance(value, dict | Duration):
        return value
    if is_number(value):
        return {"steps": value}
    parts = (
        re.fullmatch(r"\s*([0-9.]+(?:e[-+]?[0-9]+)?)\s*(step|epoch|image)s?\s*", value)
        if isinstance(value, str)
        else None
    )
    try:
        return {_UNITS[parts[2]]: float(parts[1])} if parts else _no_duration()
    except ValueError:
        return _no_duration()


def _no_duration() -> Any:
    raise ValueError("expected a duration: a number of steps, {epochs: 5}, {images: 250000} or 5 epochs")


Length = Annotated[Duration, BeforeValidator(_as_mapping, json_schema_input_type=int | str | Duration)]

# From a duration to steps, for the size of a training split and of a batch.
Lengths = Callable[[Duration], int]


class Schedule(Strict):
    """The interface of schedules."""

    hints = {
        **dict.fromkeys(("lr", "rate", "max_lr"), "the largest rate is `peak`, or the rates are `values`"),
        **dict.fromkeys(
            ("steps", "epochs", "images", "end"),
            "the length is `duration`, such as {epochs: 90}, or the last of the boundaries or points",
        ),
    }

    def total(self, lengths: Lengths) -> int:
        """Return the number of steps of the whole training."""
        raise NotImplementedError

    def rates(self, steps: np.ndarray, lengths: Lengths) -> np.ndarray:
        """Return the learning rate of each step, counted from 0: float64 of the shape of `steps`."""
        raise NotImplementedError


class Constant(Schedule):
    """One learning rate throughout."""

    kind: Literal["constant"] = "constant"
    learning_rate: PositiveNumber
    duration: Length

    def total(self, lengths: Lengths) -> int:
        """See `Schedule.total`."""
        return lengths(self.duration)

    def rates(self, steps: np.ndarray, lengths: Lengths) -> np.ndarray:
        """See `Schedule.rates`."""
        return np.full(np.shape(steps), self.learning_rate)


class Stepped(Schedule):
    """`values[i]` until `boundaries[i]`; the last boundary ends the training.

    `learning_rate` and `factors`, whose products are the values, may replace `values`.

    The default is the stepped schedule with a warm-up that He et al. (2015, section 4.2) used for ResNet-110.
    """

    kind: Literal["stepped"] = "stepped"
    values: list[PositiveNumber] = [0.01, 0.1, 0.01, 0.001]
    boundaries: list[Length] = [Duration(steps=s) for s in (400, 32_000, 48_000, 64_000)]

    @model_validator(mode="before")
    @classmethod
    def _values_of_factors(cls, parameters: Any) -> Any:
        if not isinstance(parameters, dict) or not {"learning_rate", "factors"} & set(parameters):
            return parameters
        if not {"learning_rate", "factors"} <= set(parameters) or "values" in parameters:
            raise ValueError("give either values, or learning_rate and factors")
        rate, factors = parameters["learning_rate"], parameters["factors"]
        if not isinstance(factors, list) or not all(is_number(x) for x in (rate, *factors)):
            raise ValueError(
                f"learning_rate is a number and factors a list of numbers, got {excerpt(rate)} and {excerpt(factors)}"
            )
        others = {key: value for key, value in parameters.items() if key not in ("learning_rate", "factors")}
        return others | {"values": [as_number(rate) * as_number(factor) for factor in factors]}

    @model_validator(mode="after")
    def _lengths_fit(self) -> "Stepped":
        if len(self.values) != len(self.boundaries) or not self.values:
            raise ValueError(
                "values and boundaries must have equal lengths (the last boundary ends the training), "
                f"got {len(self.values)} values and {len(self.boundaries)} boundaries"
            )
        return self

    def total(self, lengths: Lengths) -> int:
        """See `Schedule.total`. Raises ValueError if the boundaries do not increase."""
        ends = [lengths(boundary) for boundary in self.boundaries]
        if any(b <= a for a, b in zip([0, *ends], ends, strict=False)):
            raise ValueError(f"boundaries must increase, got {ends} steps")
        return ends[-1]

    def rates(self, steps: np.ndarray, lengths: Lengths) -> np.ndarray:
        """See `Schedule.rates`."""
        ends = [lengths(boundary) for boundary in self.boundaries]
        intervals = np.searchsorted(ends, steps, side="right")
        return np.asarray(self.values)[np.minimum(intervals, len(ends) - 1)]


class Cosine(Schedule):
    """Linear warm-up from `peak / warmup steps` to `peak`, then half a cosine wave down to `final`.

    Loshchilov and Hutter, https://arxiv.org/abs/1608.03983 (one cycle).
    """

    kind: Literal["cosine"] = "cosine"
    peak: PositiveNumber = 0.1
    warmup: Length = Duration(steps=0)
    duration: Length
    final: Number = Field(0.0, ge=0)

    def total(self, lengths: Lengths) -> int:
        """See `Schedule.total`. Raises ValueError if the warm-up takes the whole duration."""
        warmup, total = lengths(self.warmup), lengths(self.duration)
        if warmup >= total:
            raise ValueError(f"the warm-up of {warmup} steps must be shorter than the duration of {total}")
        return total

    def rates(self, steps: np.ndarray, lengths: Lengths) -> np.ndarray:
        """See `Schedule.rates`."""
        warmup, total = lengths(self.warmup), lengths(self.duration)
        progress = np.clip((steps - warmup) / max(total - warmup, 1), 0, 1)
        cosine = self.final + (self.peak - self.final) * 0.5 * (1 + np.cos(np.pi * progress))
        return np.where(steps < warmup, self.peak * (steps + 1) / max(warmup, 1), cosine)


class PiecewiseLinear(Schedule):
    """Linear interpolation between `points`, pairs of a duration and a rate; the last one ends the training."""

    kind: Literal["piecewise_linear"] = "piecewise_linear"
    points: list[tuple[Length, Annotated[Number, Field(ge=0)]]] = Field(min_length=2)

    def total(self, lengths: Lengths) -> int:
        """See `Schedule.total`. Raises ValueError if the points do not start at 0 and increase."""
        at = [lengths(length) for length, _ in self.points]
        if at[0] != 0 or any(b <= a for a, b in itertools.pairwise(at)):
            raise ValueError(f"points must start at 0 and increase, got {at} steps")
        return at[-1]

    def rates(self, steps: np.ndarray, lengths: Lengths) -> np.ndarray:
        """See `Schedule.rates`."""
        return np.interp(steps, [lengths(length) for length, _ in self.points], [rate for _, rate in self.points])


class Pyramid(Schedule):
    """Drops at 2, 4, 5 and 6 eighths of the training, as in the MicroNet fork of Fast AutoAugment.

    After a fraction s of the training the rate is `peak` times 0.1^floor(4 s) 0.2^floor(2 s) 0.2^floor(s / 0.625)
    0.2^floor(s / 0.75): 1, 0.1, 0.002, 0.0004 and 0.000008.
    """

    kind: Literal["pyramid"] = "pyramid"
    peak: PositiveNumber
    duration: Length

    def total(self, lengths: Lengths) -> int:
        """See `Schedule.total`."""
        return lengths(self.duration)

    def rates(self, steps: np.ndarray, lengths: Lengths) -> np.ndarray:
        """See `Schedule.rates`."""
        total = lengths(self.duration)
        drops = ((0.1, 0.25), (0.2, 0.5), (0.2, 0.625), (0.2, 0.75))
        return self.peak * np.prod([factor ** np.floor(steps / (share * total)) for factor, share in drops], axis=0)


AnySchedule = Annotated[Constant | Stepped | Cosine | PiecewiseLinear | Pyramid, Field(discriminator="kind")]

__all__ = [
    "MAX_STEPS",
    "AnySchedule",
    "Constant",
    "Cosine",
    "Duration",
    "Length",
    "Lengths",
    "PiecewiseLinear",
    "Pyramid",
    "Stepped",
]
