"""Pair the arrays of a checkpoint with a model's variables: each one exactly once, on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cifarzoo.conversion.layouts import Layout
from cifarzoo.conversion.slots import ROLES, Slot

# Arrays by layer and role, with axes in Keras' order.
Weights = dict[str, dict[str, np.ndarray]]
# What a message lists of each kind of problem.
SHOWN = 3


@dataclass
class Match:
    """How a layout pairs a checkpoint with a model.

    Attributes:
        weights: Arrays by layer and role. A convolution may have a bias that the model's lacks.
        without_effect: BatchNormalization of the model that the other network lacks; its weights do nothing.
        missing: Names of arrays that the layout expects and the file lacks.
        unused: Names of arrays in the file that no layer takes.
        shapes: Arrays of other shapes than the layers', one text each.
        unknown: Layers that the layout does not know.
        paired: How many arrays of the file are paired with a variable of the same shape.
    """

    weights: Weights = field(default_factory=dict)
    without_effect: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    paired: int = 0

    @property
    def problem(self) -> str:
        """What does not fit, in one line; "" if all does."""
        texts = (
            (self.unknown, "no place for layer"),
            (self.missing, "the file lacks"),
            (self.shapes, "other shapes:"),
            (self.unused, "the model has no place for"),
        )
        return "; ".join(f"{text} {_some(names)}" for names, text in texts if names)


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def match(state: dict[str, np.ndarray], layout: Layout, slots: Sequence[Slot]) -> Match:
    """Pair the arrays of a network's state with layers.

    Args:
        state: Arrays by name, without counters and prefixes; see `state.state_of`.
        layout: The names in the file.
        slots: The layers.
    """
    result = Match()
    names = _names(state, layout, slots, result)
    used: set[str] = set()
    for slot in slots:
        result.weights[slot.name] = {}
        for role in ROLES[slot.kind]:
            name = names.get((slot.name, role))
            if name is None or name not in state:
                if name is not None and role in slot.shapes:
                    result.missing.append(name)
                continue
            # Two layers never share an array: `used` would be smaller than the number of pairs.
            if name in used:
                result.missing.append(f"a second {name}")
                continue
            used.add(name)
            array = _in_our_order(state[name], slot, role, layout)
            shape = slot.shapes.get(role, slot.shapes.get("kernel", ())[-1:])
            if array.shape == shape and np.issubdtype(array.dtype, np.floating):
                result.paired += 1
                result.weights[slot.name][role] = array
            else:
                ours, theirs = "x".join(map(str, shape)), "x".join(map(str, array.shape))
                kind = "" if np.issubdtype(array.dtype, np.floating) else f"{array.dtype} "
                result.shapes.append(f"{name} is {kind}{theirs}, {slot.name} {ours}")
        if slot.name in result.without_effect:
            result.weights[slot.name] = _doing_nothing(slot)
    result.unused = [name for name in state if name not in used and not name.startswith(layout.unused)]
    return result


def _names(
    state: dict[str, np.ndarray], layout: Layout, slots: Sequence[Slot], result: Match
) -> dict[tuple[str, str], str]:
    """Return the name in the file by layer and role; layers that do nothing here are left out."""
    if layout.arrays:
        return layout.arrays(slots)
    places, names = layout.places_of(slots), {}
    for slot in slots:
        if slot.name not in places:
            result.unknown.append(slot.name)
            continue
        spellings = places[slot.name]
        if spellings is None:
            if slot.kind == "batch_norm":
                result.without_effect.add(slot.name)
            else:
                result.unknown.append(slot.name)
            continue
        first = f"{layout.naming.separator}{layout.naming.names[ROLES[slot.kind][0]]}"
        place = next((spelling for spelling in spellings if spelling + first in state), spellings[0])
        for role in ROLES[slot.kind]:
            names[slot.name, role] = f"{place}{layout.naming.separator}{layout.naming.names[role]}"
    return names


def _in_our_order(array: np.ndarray, slot: Slot, role: str, layout: Layout) -> np.ndarray:
    """Return an array with the axes of a kernel in Keras' order."""
    if role != "kernel":
        return array
    if slot.kind == "convolution" and layout.naming.kernels == "OIHW" and array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if slot.kind == "dense" and layout.naming.dense_kernels == "OI" and array.ndim == 2:
        return array.T
    return array


def _doing_nothing(slot: Slot) -> dict[str, np.ndarray]:
    """Return the weights with which BatchNormalization returns its input."""
    (channels,) = slot.shapes["gamma"]
    ones, zeros = np.ones(channels), np.zeros(channels)
    return {"gamma": ones, "beta": zeros, "mean": zeros.copy(), "variance": ones - slot.epsilon}
