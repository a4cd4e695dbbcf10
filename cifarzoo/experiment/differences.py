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
    """Flatten nested mappings, and with `lists` also lists, into one mapping with dotted keys."""
    if isinstance(tree, dict):
        items = tree.items()
    elif lists and isinstance(tree, list):
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
    """Return the values, formatted, of each dotted key at which documents differ.

    A missing value is "not set". Keys that tell apart documents which the earlier keys do not come first.
    """
    flat = [flatten(document, lists=True) for document in documents]
    values = {key: [_formatted(one.get(key)) for one in flat] for key in sorted({key for one in flat for key in one})}
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
        _first([f"{key}: {several[number]}" for key, several in values.items()]) for number in range(len(documents))
    ]


def named_values(documents: Sequence[dict]) -> str:
    """Format the settings at which documents differ, with their values, in brackets; empty without any."""
    values = values_of_differing_keys(documents)
    alternatives = [f"{key}: {' / '.join(dict.fromkeys(several))}" for key, several in values.items()]
    return f" ({_first(alternatives)})" if alternatives else ""


def _count_distinct(values: dict[str, list[str]], keys: Sequence[str]) -> int:
    return len(set(zip(*(values[key] for key in keys), strict=True))) if keys else 1


def _first(items: Sequence[str]) -> str:
    more = len(items) - MAX_KEYS
    return ", ".join(items[:MAX_KEYS]) + (f" and {more} more" if more > 0 else "")


def _formatted(value: Any) -> str:
    """Format a single value as YAML writes it."""
    if value is None:
        return "not set"
    return clipped(value if isinstance(value, str) else json.dumps(value), MAX_VALUE)
