"""Policy lists in Fast AutoAugment's format, read and checked without Keras."""

import json
from pathlib import Path
from typing import Any

from cifarzoo import strict_yaml as yaml_texts
from cifarzoo.augment.names import ABSOLUTE, OPERATIONS
from cifarzoo.errors import ExperimentError


def read_policies(path: str | Path) -> tuple:
    """The sub-policies of a YAML or JSON file.

    Raises:
        ExperimentError: the file cannot be read or parsed, or a sub-policy does not fit.
    """
    if not isinstance(path, str | Path):
        raise ExperimentError(f"file: the path of a policy list is expected, got {_short(path)}")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: cannot read policies: {getattr(error, 'strerror', None) or error}") from None
    try:
        entries = json.loads(text) if Path(path).suffix == ".json" else yaml_texts.parse(text)
    except json.JSONDecodeError as error:
        raise ExperimentError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except yaml_texts.Error as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise ExperimentError(f"{path}{place}: not YAML: {getattr(error, 'problem', None) or error}") from None
    return check_policies(entries, str(path))


def check_policies(entries: Any, where: str) -> tuple:
    """Sub-policies as nested tuples, checked.

    Args:
        entries: `[[[operation, probability, level], [operation, probability, level]], ...]`.
        where: What an error message begins with; the position follows as `[sub-policy][operation]`, from 0.

    Raises:
        ExperimentError: something does not fit.
    """
    if not isinstance(entries, list | tuple) or not entries:
        raise ExperimentError(f"{where}: policies are a list of sub-policies, got {_short(entries)}")
    return tuple(_check_sub_policy(entry, f"{where}[{number}]") for number, entry in enumerate(entries))


def _check_sub_policy(entry, where):
    if not isinstance(entry, list | tuple) or len(entry) != 2 or isinstance(entry[0], str):
        raise ExperimentError(
            f"{where}: a sub-policy is two operations, [[name, probability, level], [name, probability, level]], "
            f"got {_short(entry)}"
        )
    return tuple(_check_operation(operation, f"{where}[{number}]") for number, operation in enumerate(entry))


def _check_operation(entry, where):
    if not isinstance(entry, list | tuple) or len(entry) != 3:
        raise ExperimentError(f"{where}: an operation is [name, probability, level], got {_short(entry)}")
    name, probability, level = entry
    if name not in (*OPERATIONS, *ABSOLUTE):
        known = ", ".join((*OPERATIONS, *ABSOLUTE))
        raise ExperimentError(f"{where}: unknown operation {_short(name)}; it is one of {known}")
    for what, value in (("probability", probability), ("level", level)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise ExperimentError(f"{where}: the {what} of {name} is between 0 and 1, got {_short(value)}")
    return name, float(probability), float(level)


def _short(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
