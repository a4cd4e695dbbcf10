"""Move the zero channels of shortcut A: other code puts them on both sides of the channels, ours behind them.

The residual stream of our network then has the same channels in another order. Convolutions that read the stream take
their input channels in that order, those that write it their output channels, and BatchNormalization of the stream its
vectors. What happens inside a block's branch stays as it is.
"""

import re
from collections.abc import Sequence

import numpy as np

from cifarzoo.conversion.match import Weights
from cifarzoo.conversion.slots import Slot
from cifarzoo.errors import WeightsError


def move_zero_channels_behind(weights: Weights, slots: Sequence[Slot], back: bool = False) -> None:
    """Reorder the channels of a residual network whose widening shortcuts put half of the new channels in front.

    With `back`, do the opposite: give a network of ours the order of channels of such a network.

    Networks with projections instead of shortcut A stay as they are. The arrays in `weights` are replaced.

    Raises:
        WeightsError: the network has no residual blocks.
    """
    names = {slot.name: slot for slot in slots}
    if any(name.endswith("_projection") for name in names):
        return
    blocks: dict[str, list[str]] = {}
    for name in names:
        if start := re.match(r"stage\d+_block\d+_", name):
            blocks.setdefault(start[0], []).append(name)
    if not blocks or "stem_conv" not in names:
        raise WeightsError("zero channels on both sides: expected a residual network")
    preactivated = "final_bn" in names

    def take(name: str, order: np.ndarray, axis: int | None = None) -> None:
        _take(weights[name], np.argsort(order) if back else order, axis)

    order = np.arange(names["stem_conv"].shapes["kernel"][-1])
    for block, members in blocks.items():
        last = max(name for name in members if names[name].kind == "convolution")
        width = names[last].shapes["kernel"][-1]
        before, order = order, _widened(order, width)
        take(f"{block}conv1", before, axis=-2)
        if preactivated:
            take(f"{block}bn1", before)
        take(last, order, axis=-1)
        if not preactivated:
            take(last.replace("conv", "bn"), order)
    if preactivated:
        take("final_bn", order)
    take("logits", order, axis=-2)


def _widened(order: np.ndarray, width: int) -> np.ndarray:
    """Return which of their `width` channels each of ours is, given the same for the narrower stream before it."""
    in_front = (width - len(order)) // 2
    carried = in_front + order
    return np.concatenate([carried, np.setdiff1d(np.arange(width), carried)])


def _take(arrays: dict[str, np.ndarray], order: np.ndarray, axis: int | None = None) -> None:
    """Reorder a kernel along an axis, with the bias if that axis is the output's; or BatchNormalization's vectors."""
    for role, array in arrays.items():
        if array.ndim == 1:
            if axis != -2:
                arrays[role] = array[order]
        else:
            arrays[role] = np.take(array, order, axis=axis)
