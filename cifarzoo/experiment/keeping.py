"""Keep weights along the way: the section `keep` of `train_parameters`, and the steps that it means."""

import bisect
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from cifarzoo.experiment.schedules import Length, Lengths
from cifarzoo.strict_model import Number, Strict

UNITS = {
    "B": 1,
    **{f"{prefix}B": 1000**n for n, prefix in enumerate("kMGT", 1)},
    **{f"{prefix}iB": 1024**n for n, prefix in enumerate("KMGT", 1)},
}


def _bytes(value: Any) -> Any:
    """Return text such as "500 MB" as a number of bytes."""
    parts = re.fullmatch(r"\s*([0-9]+\.?[0-9]*)\s*([kKMGT]?i?B)\s*", value) if isinstance(value, str) else None
    if parts and (unit := "kB" if parts[2] == "KB" else parts[2]) in UNITS:
        return float(parts[1]) * UNITS[unit]
    if isinstance(value, str):
        raise ValueError("expected a size, such as 500 MB or 2 GB")
    return value


EXPECTED = "expected {every: DURATION}, {at: [DURATION, ...]} or a list of durations"

Size = Annotated[Number, Field(gt=0), BeforeValidator(_bytes, json_schema_input_type=float | str)]


class Keep(Strict):
    """Which weights a run keeps: `{every: {epochs: 1}}`, `{at: [DURATION, ...]}` or both, up to a size."""

    every: Length | None = None
    at: list[Length] = Field([], max_length=10_000)
    at_most: Size = 1e9

    @model_validator(mode="after")
    def _says_when(self) -> "Keep":
        if self.every is None and not self.at:
            raise ValueError(EXPECTED)
        return self


def _mapping(value: Any) -> Any:
    """Return `{at: [...]}` for its short form, a list of durations."""
    if value == []:
        raise ValueError(EXPECTED)
    return {"at": value} if isinstance(value, list) else value


KeepSetting = Annotated[Keep, BeforeValidator(_mapping, json_schema_input_type=Keep | list[Length])]


class KeptSteps:
    """The steps after which weights are kept.

    Args:
        keep: The section; None keeps nothing.
        lengths: A function from a `Duration` to steps.
        total: Steps of the whole run.

    Attributes:
        interval: Steps between two of the weights that `every` keeps, None without it.

    Raises:
        ValueError: a duration is not within the run.
    """

    def __init__(self, keep: Keep | None, lengths: Lengths, total: int):
        self.interval = lengths(keep.every) if keep and keep.every is not None else None
        self._at = sorted({lengths(duration) for duration in keep.at}) if keep else []
        self._total = total
        if self.interval is not None and not 1 <= self.interval <= total:
            raise ValueError(f"every: expected 1 to {total} steps, the length of training, got {self.interval}")
        if self._at and self._at[-1] > total:
            raise ValueError(f"at: training ends after {total} steps, got {self._at[-1]}")

    def __len__(self) -> int:
        if self.interval is None:
            return len(self._at)
        return self._total // self.interval + sum(step == 0 or step % self.interval > 0 for step in self._at)

    def __contains__(self, step: int) -> bool:
        is_regular = self.interval is not None and step > 0 and step % self.interval == 0
        position = bisect.bisect_left(self._at, step)
        return is_regular or (position < len(self._at) and self._at[position] == step)

    def next(self, step: int) -> int:
        """Return the first of them after `step`; the end of training if there is none."""
        position = bisect.bisect_right(self._at, step)
        ends = [self._at[position]] if position < len(self._at) else []
        if self.interval is not None:
            ends.append(step - step % self.interval + self.interval)
        return min([self._total, *ends])


def size_text(size: float) -> str:
    """Format a number of bytes, such as "1.2 GB"."""
    unit = next((unit for unit in ("TB", "GB", "MB", "kB") if size >= UNITS[unit]), "B")
    return f"{size / UNITS[unit]:.3g} {unit}"
