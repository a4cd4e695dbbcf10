"""Fill a model with the weights of another project's checkpoint."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cifarzoo.conversion.absorb import absorb_biases, absorb_epsilon, variance_of
from cifarzoo.conversion.channels import move_zero_channels_behind
from cifarzoo.conversion.layouts import Layout
from cifarzoo.conversion.match import Match, Weights, match
from cifarzoo.conversion.slots import Slot, slots_of
from cifarzoo.errors import WeightsError

if TYPE_CHECKING:
    import keras


def convert(model: "keras.Model", state: dict[str, np.ndarray], layout: Layout, epsilon: float = 1e-5) -> None:
    """Fill a model with a network's arrays, each used exactly once, so that it computes what that network does.

    Args:
        model: A model of the same architecture.
        state: The network's arrays by name; see `state.state_of`.
        layout: The names in the file.
        epsilon: BatchNormalization's epsilon in the other network.

    Raises:
        WeightsError: arrays are missing, left over or of other shapes, or something cannot be absorbed. The model may
            then be filled in part.
    """
    slots = slots_of(model)
    matched = match(state, layout, slots)
    if matched.problem:
        raise WeightsError(f"not a file of {layout.code} for {model.name}: {matched.problem}")
    fill(model, slots, matched, layout, epsilon)


def fill(model: "keras.Model", slots: Sequence[Slot], matched: Match, layout: Layout, epsilon: float) -> None:
    """Fill a model with matched arrays.

    Raises:
        WeightsError: an array has numbers that are not finite in float32, BatchNormalization would divide by zero or by
            the root of a negative number, or something cannot be absorbed.
    """
    if not 0 <= epsilon < np.inf:
        raise WeightsError(f"epsilon: expected a number of at least 0, got {epsilon}")
    with np.errstate(all="ignore"):  # the result is checked
        _fill(model, slots, matched, layout, epsilon)


def _fill(model: "keras.Model", slots: Sequence[Slot], matched: Match, layout: Layout, epsilon: float) -> None:
    weights: Weights = {name: dict(arrays) for name, arrays in matched.weights.items()}
    for slot in slots:
        arrays = weights[slot.name]
        if bad := next((role for role, array in arrays.items() if not np.isfinite(array).all()), None):
            raise WeightsError(f"{slot.name}: its {bad} has numbers that are not finite")
        if layout.inverse_deviation and slot.kind == "batch_norm":
            if arrays["variance"].min(initial=1) <= 0:
                raise WeightsError(f"{slot.name}: its inverse deviations are not all positive")
            arrays["variance"] = variance_of(arrays["variance"], slot.epsilon)
        elif slot.kind == "batch_norm" and slot.name not in matched.without_effect:
            _check_variance(slot, arrays["variance"], epsilon)
            if epsilon != slot.epsilon:
                absorb_epsilon(arrays, epsilon, slot.epsilon)
    if layout.zero_channels == "both":
        move_zero_channels_behind(weights, slots)
    absorb_biases(model, weights)
    for slot in slots:
        arrays = weights[slot.name]
        # Exactly one array per variable: what is left of a layer here was neither matched nor absorbed.
        if set(arrays) != set(slot.shapes):
            raise WeightsError(f"{slot.name}: has {', '.join(slot.shapes)}, the file {', '.join(arrays)}")
        rounded = {role: arrays[role].astype(np.float32) for role in slot.shapes}
        if bad := next((role for role, array in rounded.items() if not np.isfinite(array).all()), None):
            raise WeightsError(f"{slot.name}: its {bad} has numbers that are too large for float32")
        if slot.kind == "batch_norm":
            _check_variance(slot, rounded["variance"], slot.epsilon)
        model.get_layer(slot.name).set_weights(list(rounded.values()))


def _check_variance(slot: Slot, variance: np.ndarray, epsilon: float) -> None:
    if (lowest := variance.astype(np.float64).min(initial=np.inf)) + epsilon <= 0:
        raise WeightsError(f"{slot.name}: its variance of {lowest:g} plus epsilon, {epsilon:g}, is not positive")
