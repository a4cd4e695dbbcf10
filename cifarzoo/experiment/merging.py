"""Lay one document over another, as recipes, grids and overrides do."""

from typing import Any

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.optimizers import SGD_KEYS
from cifarzoo.experiment.schedules import Duration
from cifarzoo.experiment.splits import SPLIT_CHOICES
from cifarzoo.strict_yaml import clipped, parse, quoted

# Maximum number of nested sections in the key of an override; a policy of an augmentation needs the most.
MAX_SECTIONS = 20

# Keys of `dataset`, of which one at a time is valid.
IMAGE_SOURCES = {"folder", "arrays", "tfds"}

# Keys of `labels`, of which one at a time is valid with noise.
LABEL_SOURCES = {"file", "train", "test", "symmetric", "asymmetric"}


def merge(base: dict, top: dict) -> dict:
    """Return `base` with the keys of `top` laid over it.

    Nested mappings are merged, except that a schedule of another kind, an optimizer of another name, a duration, and
    labels, images or a split of another kind replace those below. An optimizer also replaces the keys of SGD that are
    below it; if it is SGD itself, it takes them over. Short forms, such as `optimizer: AdamW`, become mappings.
    """
    return _merge(spelled_out(base), spelled_out(top))


def spelled_out(document: dict) -> dict:
    """Return an experiment, or a plan of a search with one in `networks`, with a mapping for every short form.

    These are the names that may stand for a mapping in `teacher`, `optimizer` and its `rest`.
    """
    document = dict(document)
    if isinstance(networks := document.get("networks"), dict):
        document["networks"] = spelled_out(networks)
    if isinstance(teacher := document.get("teacher"), str | list):
        document["teacher"] = {"model": teacher}
    parameters = document.get("train_parameters")
    if isinstance(parameters, dict) and "optimizer" in parameters:
        optimizer = _named(parameters["optimizer"])
        if isinstance(optimizer, dict) and "rest" in optimizer:
            optimizer = optimizer | {"rest": _named(optimizer["rest"])}
        document["train_parameters"] = parameters | {"optimizer": optimizer}
    return document


def _named(optimizer: Any) -> Any:
    return {"name": optimizer} if isinstance(optimizer, str) else optimizer


def _merge(base: dict, top: dict) -> dict:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        if not isinstance(value, dict) or not isinstance(below, dict) or _replaces(key, value, below):
            merged[key] = value
            continue
        if key == "train_parameters" and value.get("optimizer"):
            below, value = _without_sgd(below), value | {"optimizer": _with_sgd_of(below, value["optimizer"])}
        merged[key] = _merge(below, value)
    return merged


def _replaces(key: str, value: dict, below: dict) -> bool:
    """Whether a mapping replaces the one below instead of merging with it."""
    if (kind := "name" if key in ("optimizer", "rest") else "kind") in value:
        return value[kind] != below.get(kind)
    if key == "dataset" and (sources := IMAGE_SOURCES & set(value)):
        return not sources & set(below)
    if key in ("train_split", "val_split") and (choices := set(SPLIT_CHOICES) & set(value)):
        return not choices & set(below)
    if sources := LABEL_SOURCES & set(value):
        return bool({"symmetric", "asymmetric"} & {*below, *sources}) and not sources & set(below)
    return bool(value) and set(value) | set(below) <= set(Duration.model_fields)


def _without_sgd(parameters: dict) -> dict:
    """Return `train_parameters` without the keys of SGD."""
    return {key: value for key, value in parameters.items() if key not in SGD_KEYS}


def _with_sgd_of(parameters: dict, optimizer: Any) -> Any:
    """Return an optimizer; if it is SGD, with the keys of SGD in `train_parameters` that it does not have."""
    if not (isinstance(optimizer, dict) and optimizer.get("name") == "SGD"):
        return optimizer
    return {key: value for key, value in parameters.items() if key in SGD_KEYS} | optimizer


def shortened(override: str) -> str:
    """Format an override for a message: at most 100 characters, without control characters."""
    return clipped(override, 100)


def apply_override(document: dict, override: str) -> None:
    """Set a key of the document in place, from `--set KEY=VALUE` with a dotted key and a value in YAML.

    Raises:
        ExperimentError: there is no `=`, the value is not YAML, or a part of the key is not a section.
    """
    key, equals, value = override.partition("=")
    option = f"--set {shortened(override)}"
    if not equals:
        raise ExperimentError(f"{option}: expected KEY=VALUE, for example train_parameters.batch_size=64")
    # The keys within `grid` are dotted themselves.
    *sections, last = ["grid", key[5:]] if key.startswith("grid.") else key.split(".")
    if len(sections) > MAX_SECTIONS:
        raise ExperimentError(f"{option}: a key has at most {MAX_SECTIONS + 1} parts")
    document.update(spelled_out(document))
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ExperimentError(f"{option}: {quoted(section)} is not a section")
    target[last] = parse(value, option)
    if key == "train_parameters.optimizer" and target[last]:
        optimizer = _with_sgd_of(target, _named(target[last]))
        document["train_parameters"] = _without_sgd(target) | {"optimizer": optimizer}
