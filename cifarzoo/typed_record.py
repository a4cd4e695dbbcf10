"""Check a dataclass that was read from a file against its annotations."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pydantic


def check_types(record: Any) -> None:
    """Check the fields of a dataclass, and the values inside them, against the annotations.

    Raises:
        ValueError: a value is of another type. The message is one line and names the field.
    """
    import pydantic  # here, because importing it would more than double the time to list models

    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    try:
        _adapter(type(record)).validate_python(values)  # type: ignore[arg-type]  # a class can be hashed
    except pydantic.ValidationError as failure:
        problem = failure.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{key}: {problem['msg']}, got {problem['input']!r:.80}") from None


@functools.cache
def _adapter(kind: Any) -> "pydantic.TypeAdapter[Any]":
    import pydantic

    return pydantic.TypeAdapter(kind)
