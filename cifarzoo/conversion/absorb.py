"""Absorb what other networks have and ours lack, without changing what the network computes.

* BatchNormalization with another epsilon: the variance takes the difference.
* A convolution's bias: it is a constant in each channel of our feature map that is missing there. The constant moves
  along the graph through sums, poolings and 1x1 convolutions to the BatchNormalizations behind, whose moving means
  take it; the linear classifier takes it into its bias. It cannot move through ReLU or a padded convolution.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.conversion.match import Weights
from cifarzoo.errors import WeightsError

if TYPE_CHECKING:
    import keras

# Operations that move a constant of each channel as it is. Pooling pads nothing in our networks.
TRANSPARENT = {"Reshape", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "Dropout", "InputLayer"}


def absorb_epsilon(arrays: dict[str, np.ndarray], theirs: float, ours: float) -> None:
    """Replace variance and gamma of a BatchNormalization with epsilon `theirs` by those that fit epsilon `ours`."""
    variance = arrays["variance"].astype(np.float64)
    moved = variance + (theirs - ours)
    if moved.min(initial=0.0) >= 0:
        arrays["variance"] = moved
    else:
        arrays["gamma"] = arrays["gamma"].astype(np.float64) * np.sqrt((variance + ours) / (variance + theirs))


def variance_of(inverse_deviation: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the variance of which 1 / sqrt(variance + epsilon) is the given array."""
    return 1 / inverse_deviation.astype(np.float64) ** 2 - epsilon


def absorb_biases(model: "keras.Model", weights: Weights) -> None:
    """Remove the biases of convolutions that have none in the model; see the module.

    Raises:
        WeightsError: a bias cannot be absorbed.
    """
    layers = {layer.name: layer for layer in model.layers if layer.name in weights}
    if not any("bias" in weights[name] and not _has_bias(layer) for name, layer in layers.items()):
        return
    # What our tensors lack per channel, by the identity of the tensor; those that lack nothing are left out.
    lacking: dict[int, np.ndarray] = {}
    for operation in model.operations:
        inputs = _tensors(operation.input) if type(operation).__name__ != "InputLayer" else []
        constants = [lacking.get(id(tensor)) for tensor in inputs]
        missing = _through(operation, inputs, constants, weights)
        if missing is not None and missing.any():
            lacking[id(_tensors(operation.output)[0])] = missing
    for tensor in _tensors(model.output):
        if id(tensor) in lacking:
            raise WeightsError(f"{model.name}: no layer takes the bias before its output")


def _has_bias(layer: Any) -> bool:
    return bool(getattr(layer, "use_bias", False))


def _tensors(structure: Any) -> list[Any]:
    return list(structure) if isinstance(structure, list | tuple) else [structure]


def _through(
    operation: Any, inputs: list[Any], constants: list[np.ndarray | None], weights: Weights
) -> np.ndarray | None:
    """Return what the operation's output lacks if its inputs lack `constants`; its weights may take some of it."""
    kind, arrays = type(operation).__name__, weights.get(operation.name, {})
    constant = constants[0] if constants else None
    if kind == "Conv2D":
        passed = None if constant is None else _projected(operation, constant, arrays["kernel"])
        own = None if _has_bias(operation) else arrays.pop("bias", None)
        if passed is None or own is None:
            return passed if own is None else own.astype(np.float64)
        return passed + own
    known = [value for value in constants if value is not None]
    if not known:
        return None
    if kind == "BatchNormalization":
        arrays["mean"] = arrays["mean"] - known[0]
        return None
    if kind == "Dense" and _has_bias(operation):
        arrays["bias"] = arrays["bias"] + known[0] @ arrays["kernel"].astype(np.float64)
        return None
    if kind == "Add":
        return np.sum(known, axis=0)
    if kind == "Concatenate":
        widths = [tensor.shape[-1] for tensor in inputs]
        parts = zip(widths, constants, strict=True)
        return np.concatenate([np.zeros(width) if value is None else value for width, value in parts])
    if kind == "Pad":  # appended channels are zeros in both networks
        return np.pad(known[0], (0, operation.output.shape[-1] - len(known[0])))
    if kind in TRANSPARENT:
        return known[0]
    raise WeightsError(f"{operation.name}: a bias before it cannot be absorbed")


def _projected(operation: Any, constant: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    if tuple(operation.kernel_size) != (1, 1) or operation.groups != 1:
        raise WeightsError(f"{operation.name}: a bias before it cannot be absorbed, because it pads with zeros")
    return constant @ kernel[0, 0].astype(np.float64)
