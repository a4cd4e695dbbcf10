"""Expand the `grid` of a document into one document per combination of its values."""

import functools
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.merging import MAX_SECTIONS, merge, shortened, spelled_out
from cifarzoo.strict_yaml import excerpt, quoted

# The key of a grid whose values are laid over the whole document.
VARIANT = "variant"
# Maximum number of experiments in a file; more would take too long to read, and centuries to train.
MAX_EXPERIMENTS = 1_000
MAX_KEYS = 50
# Ends of the paths of keys that name what a section holds.
SECTION_NAMES = {("optimizer", "name"), ("rest", "name")}


def expand(document: dict, overrides: Sequence[str], location: str) -> list[dict]:
    """Return the documents of all combinations of the grid's values; the last key's values change fastest.

    Args:
        document: A document, overrides applied. Without `grid` it is the only result.
        overrides: The `--set` options that were applied to it.
        location: Start of the error messages.

    Raises:
        ExperimentError: the grid is wrong or too large, or an override sets one of its keys.
    """
    document = dict(document)
    grid = document.pop("grid", None)
    if grid is None:
        return [document]
    if not isinstance(grid, dict) or not grid:
        raise ExperimentError(f"{location}: grid: expected keys with their values, got {excerpt(grid)}")
    if len(grid) > MAX_KEYS:
        raise ExperimentError(f"{location}: grid: expected at most {MAX_KEYS} keys, got {len(grid):,}")
    axes = [_named_values(key, values, location) for key, values in grid.items()]
    if (points := math.prod(map(len, axes))) > MAX_EXPERIMENTS:
        count = f"{points:,}" if points < 10**12 else "more than 10^12"
        raise ExperimentError(f"{location}: grid: expected at most {MAX_EXPERIMENTS:,} combinations, got {count}")
    _check_overrides(grid, overrides, location)
    parameters = document.get("train_parameters") or {}
    if not isinstance(parameters, dict):
        raise ExperimentError(f"{location}: train_parameters: expected a mapping, got {excerpt(parameters)}")
    base = parameters.get("run_name")
    if base is None and "model" not in grid:
        base = document.get("model")
    if isinstance(base, dict | list):
        raise ExperimentError(f"{location}: model and run_name: expected text, got {excerpt(base)}")
    documents = []
    for combination in itertools.product(*axes):
        expanded = document
        for (_, value), key in zip(combination, grid, strict=True):
            expanded = merge(expanded, _nested(key, value))
        name = "-".join([*([] if base is None else [str(base)]), *(name for name, _ in combination)])
        documents.append(merge(expanded, {"train_parameters": {"run_name": name}}))
    return documents


def varied_keys(grid: Any) -> list[str]:
    """Return the dotted keys that a grid sets, those of its `variant` included; [] for anything but a grid."""
    keys: list[str] = []
    for key, values in grid.items() if isinstance(grid, dict) else ():
        if key == VARIANT and isinstance(values, dict):
            keys += sorted({".".join(map(str, path)) for value in values.values() for path in _paths(value)})
        else:
            keys.append(str(key))
    return list(dict.fromkeys(keys))


def _named_values(key: Any, values: Any, location: str) -> list[tuple[str, Any]]:
    """Return the values of one key of a grid, each with its name: [(name in the run's name, value), ...]."""
    where = f"{location}: grid.{quoted(key)}"
    if not isinstance(key, str) or key.split(".")[0] in ("grid", "recipe", "seeds") or key.endswith("run_name"):
        raise ExperimentError(f"{where}: not allowed in a grid; `seeds` is a list already, and names are derived")
    if key.count(".") > MAX_SECTIONS:
        raise ExperimentError(f"{where}: a key has at most {MAX_SECTIONS + 1} parts")
    if isinstance(values, dict) and values:
        for name, value in values.items():
            label = f"{where}.{quoted(name)}"
            if key == VARIANT and not isinstance(value, dict):
                raise ExperimentError(f"{label}: expected a mapping to lay over the document, got {excerpt(value)}")
            if key == VARIANT and ("train_parameters", "run_name") in _paths(value):
                raise ExperimentError(f"{label}: sets run_name, but run names are derived from the grid's names")
            for early in ("recipe", "grid"):
                if key == VARIANT and early in value:
                    raise ExperimentError(f"{label}: {early}: cannot be varied; write it in the document")
        return [(str(name), value) for name, value in values.items()]
    if not isinstance(values, list) or not values:
        raise ExperimentError(f"{where}: expected a list of values, or a mapping from names to values")
    if any(isinstance(value, dict | list) or value is None for value in values):
        raise ExperimentError(f"{where}: values that are not numbers or words need a name, as in {{short: {{...}}}}")
    if key == VARIANT:
        raise ExperimentError(f"{where}: expected a mapping from names to mappings to lay over the document")
    last = key.split(".")[-1]
    named = {}
    for value in values:
        name = value if isinstance(value, str) else f"{last}_{json.dumps(value)}"
        if name in named:
            raise ExperimentError(f"{where}: the value {quoted(value)} is listed twice")
        named[name] = value
    return list(named.items())


def _nested(key: str, value: Any) -> dict[str, Any]:
    """Return a value of a grid's key as a document to lay over the grid's own."""
    sections = [] if key == VARIANT else key.split(".")
    return functools.reduce(lambda inner, part: {part: inner}, reversed(sections), value)


def _paths(value: Any, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Return the paths of all leaves of nested mappings, as tuples of keys."""
    if not isinstance(value, dict) or not value:
        return {above}
    return {path for key, inner in value.items() for path in _paths(inner, (*above, key))}


def _check_overrides(grid: dict[str, Any], overrides: Sequence[str], location: str) -> None:
    """Refuse an override of a key that the grid sets: it would change nothing, or not every document."""
    for override in overrides:
        key = tuple(override.partition("=")[0].split("."))
        if key[0] == "grid":
            continue
        for name, values in grid.items():
            values = values.values() if isinstance(values, dict) else values
            laid_over = (spelled_out(_nested(name, value)) for value in values)
            paths = {path for value in laid_over for path in _paths(value)} - {()}  # an empty variant sets nothing
            # Another name replaces the whole section.
            paths = {path[:-1] if path[-2:] in SECTION_NAMES else path for path in paths}
            for path in sorted(paths, key=lambda path: (len(path), str(path))):
                if path[: len(key)] == key[: len(path)]:
                    raise ExperimentError(
                        f"--set {shortened(override)}: the grid of {location} sets {'.'.join(map(str, path))} through "
                        f"{name}, so this would have no effect; change it in the file, or set grid.{name}"
                    )
