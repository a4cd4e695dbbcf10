"""Policy lists in Fast AutoAugment's format: the names of their operations, reading and checking. Without Keras."""

import json
from pathlib import Path
from typing import Any

from cifarzoo.errors import ExperimentError
from cifarzoo.strict_yaml import excerpt, parse, read_text, shown

# The operations of policies, as AutoAugment names them.
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
PER_CHANNEL = ("AutoContrast", "Invert", "Equalize", "Solarize", "Posterize", "Contrast", "Brightness")
BLENDING = ("Color", "Sharpness")
OPERATIONS = (*GEOMETRIC, *PER_CHANNEL, *BLENDING, "Cutout")
# Fast AutoAugment's names for the same operations in AutoAugment's own lists: lengths in pixels, fewer bits.
ABSOLUTE = {
    "TranslateXAbs": "TranslateX",
    "TranslateYAbs": "TranslateY",
    "Posterize2": "Posterize",
    "CutoutAbs": "Cutout",
}

# Keeps an experiment with such a list within the limits of `cifarzoo.strict_yaml`.
MAX_SUB_POLICIES = 1_000


def read_policies(path: str | Path) -> tuple:
    """Read the sub-policies of a YAML or JSON file, as nested tuples.

    Raises:
        ExperimentError: the file cannot be read or parsed, or a sub-policy does not fit.
    """
    if not isinstance(path, str | Path):
        raise ExperimentError(f"file: expected the path of a policy list, got {excerpt(path)}")
    path = Path(path)
    text = read_text(path)
    if path.suffix != ".json":
        return check_policies(parse(text, shown(path)), shown(path))
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise ExperimentError(f"{shown(path)}: not valid JSON at line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError):
        raise ExperimentError(f"{shown(path)}: not valid JSON: nested too deeply, or a number is too long") from None
    return check_policies(entries, shown(path))


def check_policies(entries: Any, where: str) -> tuple:
    """Check sub-policies and return them as nested tuples.

    Args:
        entries: `[[[operation, probability, level], [operation, probability, level]], ...]`.
        where: Start of an error message. The position follows as `[sub-policy][operation]`, counted from 0.

    Raises:
        ExperimentError: an entry is wrong.
    """
    if not isinstance(entries, list | tuple) or not entries:
        raise ExperimentError(f"{where}: expected a list of sub-policies, got {excerpt(entries)}")
    if len(entries) > MAX_SUB_POLICIES:
        raise ExperimentError(f"{where}: expected at most {MAX_SUB_POLICIES:,} sub-policies, got {len(entries):,}")
    return tuple(_check_sub_policy(entry, f"{where}[{number}]") for number, entry in enumerate(entries))


def _check_sub_policy(entry, where):
    if not isinstance(entry, list | tuple) or len(entry) != 2 or isinstance(entry[0], str):
        raise ExperimentError(
            f"{where}: expected two operations, [[name, probability, level], [name, probability, level]], "
            f"got {excerpt(entry)}"
        )
    return tuple(_check_operation(operation, f"{where}[{number}]") for number, operation in enumerate(entry))


def _check_operation(entry, where):
    if not isinstance(entry, list | tuple) or len(entry) != 3:
        raise ExperimentError(f"{where}: expected [name, probability, level], got {excerpt(entry)}")
    name, probability, level = entry
    if not isinstance(name, str) or name not in (*OPERATIONS, *ABSOLUTE):
        known = ", ".join((*OPERATIONS, *ABSOLUTE))
        raise ExperimentError(f"{where}: unknown operation {excerpt(name)}; known are {known}")
    for what, value in (("probability", probability), ("level", level)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise ExperimentError(f"{where}: the {what} of {name} must be between 0 and 1, got {excerpt(value)}")
    return name, float(probability), float(level)
