"""The base class of everything that is read from YAML, and its errors as one line."""

import re

from pydantic import BaseModel, ConfigDict, ValidationError

# What pydantic adds to the location of an error: kinds of validators and branches of unions, which are no keys.
_NO_KEYS = ("function-after", "function-before", "function-wrap", "list", "str")


class Strict(BaseModel):
    """A frozen model in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def first_problem(failure: ValidationError, model: type[BaseModel]) -> str:
    """Return the location and description of the first error as one line, such as "seeds[1]: ..., got -1".

    Args:
        failure: The error.
        model: The class that was validated.
    """
    problem = failure.errors()[0]
    location = _dotted(problem["loc"])
    message = re.sub("^Value error, ", "", problem["msg"])
    if problem["type"] == "extra_forbidden":
        section = _section(model, problem["loc"][:-1])
        return f"{location}: unknown key" + (f"; known are {', '.join(section.model_fields)}" if section else "")
    if problem["type"] == "missing":
        return f"{location}: missing, and required"
    complete = ", got " in message or not isinstance(problem["input"], (str, int, float))
    if problem["type"] != "value_error" or not complete:
        message = f"{message}, got {problem['input']!r:.80}"
    return f"{location}: {message}" if location else message


def _dotted(parts):
    """Write ("augmentation", 1, "crop") as augmentation[1].crop."""
    words = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts if part not in _NO_KEYS)
    return "".join(words).removeprefix(".")


def _section(model, keys):
    """Return the model at nested keys; None where another kind of value is."""
    for key in keys:
        field = model.model_fields.get(key)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    return model
