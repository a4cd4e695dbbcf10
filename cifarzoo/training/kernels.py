"""Which variables of a network are matrices, which of them are the classifier's, and what their layers are called."""

import fnmatch
import math
from collections.abc import Sequence
from typing import Any

import keras

from cifarzoo.errors import ExperimentError
from cifarzoo.keras_internals.model_graph import source_of, supported_sources


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


def named_layers(variables: Sequence[keras.Variable], patterns: Sequence[str], key: str) -> set[int]:
    """Return the positions of the variables whose layers have one of these names.

    Args:
        variables: The variables.
        patterns: Names of layers, or patterns such as "gate*".
        key: The key of the document, for the message.

    Raises:
        ExperimentError: no layer has one of the names.
    """
    layers = [variable.path.split("/")[:-1] for variable in variables]
    named: set[int] = set()
    for pattern in patterns:
        matching = {n for n, names in enumerate(layers) if any(fnmatch.fnmatchcase(name, pattern) for name in names)}
        if not matching:
            known = ", ".join(sorted({name for names in layers for name in names}))
            raise ExperimentError(f"{key}: no layer has the name {pattern!r:.80}; there are {known:.400}")
        named |= matching
    return named
