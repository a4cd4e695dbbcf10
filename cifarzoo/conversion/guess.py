"""Convert a checkpoint that is in no table: try every key map on the model that the user names."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.conversion.convert import fill
from cifarzoo.conversion.differences import difference
from cifarzoo.conversion.input_check import contradiction
from cifarzoo.conversion.layouts import LAYOUTS, Layout, layout_named
from cifarzoo.conversion.match import Match, match
from cifarzoo.conversion.readers import read_checkpoint
from cifarzoo.conversion.slots import Slot, slots_of
from cifarzoo.conversion.state import left_aside, state_of
from cifarzoo.errors import ModelError, WeightsError, printable
from cifarzoo.pretrained.description import Description, description_of

if TYPE_CHECKING:
    import keras


# Where shortcuts without parameters put zero channels, in words.
ZEROS = {"behind": "behind the others", "both": "on both sides"}
# Whose networks are all known, so that equal names and shapes are not taken for an equal network.
OSMR = ("pytorchcv", "chainercv", "tf2cv")


@dataclass(frozen=True)
class Fit:
    """The key map that a checkpoint was converted with.

    Attributes:
        layout: Its name.
        others: Names of the other key maps that fit, too, but read the file differently.
        epsilon: BatchNormalization's epsilon in the other network.
        arrays: Number of arrays in the file that were used.
        not_used: How many arrays the other parts of the file have, by name, such as an optimizer's.
        remarks: What speaks against the user's choices, one sentence each.
    """

    layout: str
    others: tuple[str, ...]
    epsilon: float
    arrays: int
    not_used: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of a model written as Python code: `cifar_resnet56(shortcut_type="B")`.

    Raises:
        ModelError: it is not a name, or a call with literal keyword arguments.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise ValueError(text)
        return node.func.id, {_name(keyword): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise ModelError(
        f"--model {printable(text):.100}: expected a model with keyword arguments, such as "
        "'cifar_resnet56(shortcut_type=\"B\")'"
    )


def _name(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise ValueError("**")
    return keyword.arg


def convert_file(
    path: Path, model: "keras.Model", layout: str | None = None, epsilon: float | None = None, part: str | None = None
) -> Fit:
    """Fill a model with a checkpoint of any project.

    Args:
        path: The checkpoint.
        model: A model of the same architecture.
        layout: Name of the key map. Default: the first that fits.
        epsilon: BatchNormalization's epsilon in the other network. Default: that of the key map's code.
        part: Name of the dictionary in the file that the network is in; see `state.state_of`.

    Raises:
        WeightsError: the file cannot be read, or no key map fits; the message says what does not fit the nearest.
    """
    checkpoint, description = read_checkpoint(path), description_of(model)
    state, slots = state_of(checkpoint, part), slots_of(model)
    names = list(LAYOUTS) if layout is None else [layout]
    matches = {name: match(state, layout_named(name), slots) for name in names}
    fitting = [name for name in names if not matches[name].problem]
    for name in [name for name in fitting if name in OSMR]:
        if description and (problem := difference(name, slots, description)):
            raise WeightsError(f"{path}: names and shapes fit {model.name}, but {LAYOUTS[name].code} {problem}")
    if not fitting:
        raise WeightsError(f"{path}: {_nearest(matches, state, slots, model.name)}")
    chosen = LAYOUTS[fitting[0]]
    epsilon = chosen.epsilon if epsilon is None else epsilon
    try:
        fill(model, slots, matches[fitting[0]], chosen, epsilon)
    except WeightsError as failure:
        raise WeightsError(f"{path}: {failure}") from None
    others = tuple(name for name in fitting[1:] if _reads_otherwise(chosen, LAYOUTS[name], slots))
    remarks = (
        [contradiction(checkpoint, description.statistics, part), _padding(chosen, description)] if description else []
    )
    remarks += [_choice(fitting[0], name) for name in others]
    paired, rest = matches[fitting[0]].paired, left_aside(checkpoint, part)
    return Fit(fitting[0], others, epsilon, paired, rest, tuple(remark for remark in remarks if remark))


def _padding(layout: Layout, description: Description) -> str:
    """Say that the user's model pads otherwise than networks of the layout's code, "" if it does not."""
    padding = description.arguments.get("strided_padding", layout.strided_padding)
    if padding == layout.strided_padding:
        return ""
    return f'networks of {layout.code} have strided_padding="{layout.strided_padding}", --model has "{padding}"'


def _choice(chosen: str, other: str) -> str:
    """Say in what another key map that fits, too, differs from the chosen one."""
    here, there = (LAYOUTS[name].zero_channels for name in (chosen, other))
    differs = "reads other layers" if here == there else f"puts zero channels {ZEROS[there]}, {chosen} {ZEROS[here]}"
    return f"{other} fits as well, and {differs}: convert with --layout {other}, too, and compare the errors"


def _nearest(matches: dict[str, Match], state: dict[str, np.ndarray], slots: Sequence[Slot], model: str) -> str:
    """Say what does not fit the key map that pairs most arrays."""
    name = max(matches, key=lambda name: (matches[name].paired, -len(matches[name].unused)))
    best = matches[name]
    if not best.paired:
        known = ", ".join(matches)
        first = ", ".join(list(state)[:3])
        return f"no key map knows its names ({first}, ...); tried {known}"
    expected = sum(len(slot.shapes) for slot in slots)
    return (
        f"does not fit {model}; by the nearest key map, {name}, {best.paired} of {expected} arrays do: {best.problem}"
    )


def _reads_otherwise(one: Any, other: Any, slots: Sequence[Slot]) -> bool:
    """Whether two key maps that both fit give different weights."""
    has_projection = any(slot.name.endswith("_projection") for slot in slots)
    return one.places_of(slots) != other.places_of(slots) or (
        not has_projection and one.zero_channels != other.zero_channels
    )
