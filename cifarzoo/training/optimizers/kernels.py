"""Which variables of a network are matrices, which of them are the classifier's, and what their layers are called."""

import fnmatch
import math
import re
from collections.abc import Sequence
from typing import Any

import keras

from cifarzoo.errors import ExperimentError
from cifarzoo.keras_internals.model_graph import all_layers, source_of, supported_sources


def is_matrix(variable: Any) -> bool:
    """Whether a variable has, as a kernel of shape [..., inputs, outputs], at least two rows and columns."""
    shape = variable.shape
    return len(shape) > 1 and min(math.prod(shape[:-1]), shape[-1]) > 1


def classifier_kernels(model: keras.Model) -> list[keras.Variable]:
    """Return the matrices that compute the logits: those of the last layers with one on the way to the outputs.

    Several heads have several. The order of a model's variables does not say which they are, and they may be frozen.
    """
    if not supported_sources.or_warn():
        return [variable for variable in model.weights if is_matrix(variable)][-1:]
    kernels: list[keras.Variable] = []
    tensors, seen = list(model.outputs), set()
    while tensors:
        tensor = tensors.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, inputs = source_of(tensor)
        if found := _last_kernels(operation):
            kernels += found
        else:
            tensors += inputs
    return kernels


def _last_kernels(operation: Any) -> list[keras.Variable]:
    """Return the last matrices of a layer, which may be a model."""
    if getattr(operation, "outputs", None):
        return classifier_kernels(operation)
    return [variable for variable in getattr(operation, "weights", ()) if is_matrix(variable)][-1:]


def numbered_names(model: keras.Model) -> dict[str, str]:
    """Return for each name that Keras made up, such as "conv2d_7", the one with the number within this model.

    Keras numbers unnamed layers through within a process, so that a model that is built twice has two sets of names.
    These are the ones that it has if nothing is built before it.
    """
    numbers: dict[str, dict[int, str]] = {}
    for layer in all_layers(model):
        stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", layer.name, re.DOTALL).groups()  # type: ignore[union-attr]
        if stem.replace("_", "") == type(layer).__name__.replace("_", "").lower():
            numbers.setdefault(stem, {})[int(number or 0)] = layer.name
    return {
        names[number]: f"{stem}_{position}" if position else stem
        for stem, names in numbers.items()
        for position, number in enumerate(sorted(names))
    }


def named_layers(
    variables: Sequence[keras.Variable], patterns: Sequence[str], model: keras.Model | None, key: str
) -> set[int]:
    """Return the positions of the variables whose layers have one of these names.

    Args:
        variables: The variables.
        patterns: Names of layers, or patterns such as "gate*"; for names that Keras made up, see `numbered_names`.
        model: Their model.
        key: The key of the document, for the message.

    Raises:
        ExperimentError: no layer has one of the names.
    """
    numbered = numbered_names(model) if model else {}
    layers = [[numbered.get(name, name) for name in variable.path.split("/")[:-1]] for variable in variables]
    named: set[int] = set()
    for pattern in patterns:
        matching = {n for n, names in enumerate(layers) if any(fnmatch.fnmatchcase(name, pattern) for name in names)}
        if not matching:
            unnamed = ", ".join(sorted({name for names in layers for name in names} & set(numbered.values())))
            raise ExperimentError(
                f"{key}: no layer has the name {pattern!r:.80}"
                + (f"; layers without names of their own are {unnamed:.400}" if unnamed else "")
            )
        named |= matching
    return named
