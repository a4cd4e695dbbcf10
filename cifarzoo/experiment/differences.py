"""Name the settings at which documents differ, for messages and tables."""

import json
from collections.abc import Sequence
from typing import Any

from cifarzoo.strict_yaml import clipped

# Maximum number of keys that a message names.
MAX_KEYS = 4
# Maximum number of characters of a value in a message.
MAX_VALUE = 40


def flatten(tree: Any, lists: bool = False, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings, and with `lists` also lists, into one mapping with dotted keys.

    Empty mappings and lists below the top are values.
    """
    if isinstance(tree, dict) and (tree or not prefix):
        items = tree.items()
    elif lists and isinstance(tree, list) and tree:
        items = dict(enumerate(tree)).items()
    else:
        return {prefix: tree}
    parts = (flatten(value, lists, f"{prefix}.{key}" if prefix else str(key)) for key, value in items)
    return {key: value for part in parts for key, value in part.items()}


def differing_keys(before: Any, after: Any) -> list[str]:
    """Return the dotted keys, sorted, at which two documents have different values."""
    old, new = flatten(before), flatten(after)
    return sorted(key for key in old | new if old.get(key) != new.get(key))


def named_keys(keys: Sequence[str]) -> str:
    """Format the first few of `differing_keys` for a message, in brackets; empty without any."""
    return f" (different: {_first(keys)})" if keys else ""


def values_of_differing_keys(documents: Sequence[dict]) -> dict[str, list[str]]:
    """Return the values of each dotted key at which documents differ, as YAML writes them.

    A missing value is "not set", and one with keys of its own "a section". Keys come first if they separate documents
    that the keys before them leave equal.
    """
    flat = [flatten(document, lists=True) for document in documents]
    values = {key: [_formatted(one, key) for one in flat] for key in sorted({key for one in flat for key in one})}
    values = {key: several for key, several in values.items() if len(set(several)) > 1}
    separating: list[str] = []
    for key in values:
        if _count_distinct(values, [*separating, key]) > _count_distinct(values, separating):
            separating.append(key)
    return {key: values[key] for key in (*separating, *values)}


def labels(documents: Sequence[dict]) -> list[str]:
    """Return for each document the settings that tell it from the others, such as "precision: bfloat16"."""
    values = values_of_differing_keys(documents)
    return [
        _first([f"{key}: {_shortened(several[number])}" for key, several in values.items()])
        for number in range(len(documents))
    ]


def named_values(documents: Sequence[dict]) -> str:
    """Format the settings at which documents differ, with their values, in brackets; empty without any."""
    alternatives = [
        f"{key}: {' / '.join(_shortened(value) for value in dict.fromkeys(several))}"
        for key, several in values_of_differing_keys(documents).items()
    ]
    return f" ({_first(alternatives)})" if alternatives else ""


def _count_distinct(values: dict[str, list[str]], keys: Sequence[str]) -> int:
    return len(set(zip(*(values[key] for key in keys), strict=True))) if keys else 1


def _first(items: Sequence[str]) -> str:
    more = len(items) - MAX_KEYS
    return ", ".join(items[:MAX_KEYS]) + (f" and {more} more" if more > 0 else "")


def _formatted(flat: dict[str, Any], key: str) -> str:
    """Format a value of a flattened document."""
    value = flat.get(key)
    if value is None:
        return "a section" if any(other.startswith(f"{key}.") for other in flat) else "not set"
    return value if isinstance(value, str) else json.dumps(value)


def _shortened(text: str) -> str:
    """Cut a value for a message; its end stays, because paths differ there."""
    text = clipped(text, len(text))
    return text if len(text) <= MAX_VALUE else f"...{text[3 - MAX_VALUE :]}"
