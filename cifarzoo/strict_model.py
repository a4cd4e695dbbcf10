"""The base class of everything that is read from YAML, and the strict types of its values.

A number is finite and not a boolean. A whole number may be written as 1e2 or 8.0. NumPy's numbers are accepted, and so
is the text of a number, because most YAML readers return 1e-4 as text.
"""

import math
import numbers
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cifarzoo.strict_yaml import excerpt

# Common file systems allow names of 255 bytes; suffixes need some of them.
LONGEST_NAME = 200


class Strict(BaseModel):
    """A frozen model in which an unknown key is an error.

    Attributes:
        hints: What to write instead of an unknown key that people may expect here, by that key.
        further_keys: More valid keys, for messages; they are handled before the model is validated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hints: ClassVar[dict[str, str]] = {}
    further_keys: ClassVar[tuple[str, ...]] = ()


def is_number(value):
    """Whether a value is a real number or the text of one, but not a boolean."""
    if isinstance(value, str):
        return len(value) <= 100 and re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", value)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def as_number(value):
    """Return the finite float that a number or its text stands for. Raises ValueError if it is neither."""
    if not is_number(value):
        raise ValueError("expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number


def _whole_number(value):
    number = int(value) if isinstance(value, numbers.Integral) else as_number(value) if is_number(value) else math.nan
    if isinstance(value, bool) or number != number // 1:
        raise ValueError("expected a whole number")
    if abs(number) >= 2**63:
        raise ValueError("must be less than 2^63")
    return int(number)


def _plain(value, key=""):
    """Return a value as data that the run's config.yaml keeps: NumPy's scalars become Python's.

    Raises:
        ValueError: it holds anything else, or a mapping in it has a key that is not text, whose type would change.
    """
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"{key}{name!r}: expected a key that is text; write {str(name)!r} in quotes")
        return {name: _plain(part, f"{key}{name}.") for name, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_plain(part, key) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    scalar = value.item() if isinstance(value, np.generic) else value
    where = f"{key[:-1]}: " if key else ""
    if isinstance(scalar, int) and abs(scalar) >= 2**63:
        raise ValueError(f"{where}must be less than 2^63")
    if scalar is not None and not isinstance(scalar, bool | int | float | str):
        raise ValueError(f"{where}expected null, a boolean, number, text, list or mapping, got {excerpt(value)}")
    return scalar


def _printable(text):
    if not text.isprintable():
        raise ValueError("expected text without control characters")
    return text


def checked_name(text: str) -> str:
    """Return a name that may become part of paths.

    Raises:
        ValueError: it has other characters, or is too long.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", text):
        raise ValueError("expected a name of letters, digits and . _ + - that starts with a letter or digit")
    return _short(text)


def _function(text):
    if not re.fullmatch(r"\w[\w.+-]*", text):
        raise ValueError("expected the name of a function")
    return _short(text)


def _module(text):
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", text):
        raise ValueError("expected the name of a Python module, such as my_networks")
    if text.partition(".")[0] == "__main__":  # another one in every program, so that no run could be resumed
        raise ValueError("__main__ cannot be imported by other programs; put the function in a file of its own")
    return _short(text)


def _short(text):
    if len(text.encode()) > LONGEST_NAME:
        raise ValueError(f"must have at most {LONGEST_NAME} characters")
    return text


Boolean = Annotated[bool, pydantic.Strict()]
Number = Annotated[float, BeforeValidator(as_number)]
PositiveNumber = Annotated[Number, Field(gt=0)]
WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
PositiveWholeNumber = Annotated[WholeNumber, Field(gt=0)]
# Name of a run or a data set, which becomes part of paths.
Name = Annotated[str, AfterValidator(checked_name)]
FunctionName = Annotated[str, AfterValidator(_function)]
ModuleName = Annotated[str, AfterValidator(_module)]
# An argument of a function that is not ours.
Argument = Annotated[Any, AfterValidator(_plain)]
PathText = Annotated[str, AfterValidator(_printable), Field(max_length=4096)]
# A folder to write to; a leading `~` is the home folder.
FolderText = Annotated[PathText, AfterValidator(os.path.expanduser)]

__all__ = [
    "Any",
    "Argument",
    "Boolean",
    "FolderText",
    "FunctionName",
    "ModuleName",
    "Name",
    "Number",
    "PathText",
    "PositiveNumber",
    "PositiveWholeNumber",
    "Strict",
    "WholeNumber",
    "as_number",
    "is_number",
]
