"""Places of layers in files that number them, from the order in which other projects' code builds its networks."""

import re
from collections.abc import Sequence

from cifarzoo.conversion.names import Places
from cifarzoo.conversion.slots import Slot


def forward_order(slots: Sequence[Slot]) -> list[Slot]:
    """Return layers as an image passes them; a projection stands before the last layer of its block's branch.

    Both end in the same sum, and code that sorts a graph by distance from the output takes the sum's first operand
    first, which is the projection.
    """
    blocks: dict[str, list[Slot]] = {}
    for slot in slots:
        block = re.match(r"stage\d+_block\d+|group\d+", slot.name)
        blocks.setdefault(block[0] if block else slot.name, []).append(slot)
    # Keras lists a model's layers from the input on; only projections and their neighbors are out of order.
    preactivated = "final_bn" in blocks
    ordered = []
    for members in blocks.values():
        branch = sorted((s for s in members if "projection" not in s.name), key=lambda s: _step(s, preactivated))
        aside = sorted((s for s in members if "projection" in s.name), key=lambda s: s.name)
        ordered += [*branch[:-1], *aside, branch[-1]]
    return ordered


def _step(slot: Slot, preactivated: bool) -> tuple[int, bool]:
    """Return what sorts the layers of one branch: the number in the name, then convolution or BatchNormalization."""
    number = re.search(r"(\d+)$", slot.name)
    return int(number[1]) if number else 0, (slot.kind == "batch_norm") != preactivated


def numbered_layers(slots: Sequence[Slot]) -> Places:
    """Return the places of a TensorFlow checkpoint, which counts the layers with weights from 0."""
    return {slot.name: (f"layer_with_weights-{number}",) for number, slot in enumerate(forward_order(slots))}


def lasagne_arrays(slots: Sequence[Slot]) -> dict[tuple[str, str], str]:
    """Return the names of the arrays that Lasagne counts from 0: beta before gamma, and no bias in convolutions."""
    roles = {
        "convolution": ("kernel",),
        "batch_norm": ("beta", "gamma", "mean", "variance"),
        "dense": ("kernel", "bias"),
    }
    keys = [(slot.name, role) for slot in forward_order(slots) for role in roles[slot.kind]]
    return {key: f"arr_{number}" for number, key in enumerate(keys)}


def sequential_vgg(slots: Sequence[Slot]) -> Places:
    """Return the places in a VGG as PyTorch code writes it: one `Sequential` of convolutions, BN, ReLU and pooling."""
    places: Places = {}
    position, group = 0, ""
    hidden = [slot.name for slot in slots if slot.kind == "dense" and slot.name != "logits"]
    for slot in slots:
        part = re.fullmatch(r"(group\d+)_(conv|bn)\d+", slot.name)
        if part is None:
            continue
        position += part[1] != group and group != ""  # the pooling at the end of a group
        group = part[1]
        places[slot.name] = (f"features.{position}",)
        position += 2 if part[2] == "bn" else 1  # ReLU has a position, too
    if not places:
        return {}
    # Every hidden layer is followed by ReLU and dropout.
    for number, name in enumerate(hidden):
        places[name] = (f"classifier.{3 * number}",)
    places["logits"] = (f"classifier.{3 * len(hidden)}",) if hidden else ("classifier", "classifier.0", "head.fc")
    return places
