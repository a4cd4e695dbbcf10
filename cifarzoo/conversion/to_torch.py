"""Give our weights the names and axes of PyTorch code, so that networks trained here can be used there."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from cifarzoo.conversion.layouts import layout_named
from cifarzoo.conversion.slots import Slot, slots_of
from cifarzoo.errors import WeightsError
from cifarzoo.pretrained.arrays import LayerArrays, model_arrays
from cifarzoo.pretrained.description import Description

if TYPE_CHECKING:
    import keras

# Whose networks can be written, in the order in which they are tried: chenyaofo's ResNets and VGGs, then pytorchcv's.
TARGETS = ("torchvision", "vgg_torch", "pytorchcv", "kuangliu", "hendrycks_wrn", "resnext_prlz")
EPSILON = 1e-5


def torch_layout(model: "keras.Model", description: Description, layout: str | None = None) -> str:
    """Return the key map to write a model with.

    Args:
        model: The model.
        description: What it is.
        layout: The user's choice. Default: the first of TARGETS that holds the model.

    Raises:
        WeightsError: the other code has no such network; the message says why.
    """
    if layout is not None and layout not in TARGETS:
        raise WeightsError(f"--layout {layout}: expected one of {', '.join(TARGETS)}")
    slots = slots_of(model)
    problems = {name: _difference(name, slots, description) for name in ([layout] if layout else TARGETS)}
    fitting = [name for name, problem in problems.items() if not problem]
    if not fitting:
        raise WeightsError(f"{description}: {'; '.join(f'{name} {problem}' for name, problem in problems.items())}")
    return fitting[0]


def _difference(layout: str, slots: list[Slot], description: Description) -> str:
    """Return what the other code's networks lack, "" if they compute the same as ours."""
    names, arguments = {slot.name for slot in slots}, description.arguments
    preactivated, bottleneck = "final_bn" in names, any(name.endswith("_conv3") for name in names)
    wide = (description.identity or ("",))[0] == "cifar_wide_resnet"
    if description.activation is not None:
        return "returns logits"
    if missing := [slot.name for slot in slots if layout_named(layout).places_of(slots).get(slot.name) is None]:
        return f"has no layer {missing[0]}"
    if any(slot.kind == "batch_norm" and slot.epsilon != EPSILON for slot in slots):
        return f"has another epsilon than {EPSILON:g} in BatchNormalization"
    checks: dict[str, Callable[[], bool]] = {
        "has no shortcut without parameters": lambda: arguments.get("shortcut_type") == "A",
        "pads strided convolutions on all sides": lambda: arguments.get("strided_padding") == "same",
        "has the stride in the first convolution": lambda: arguments.get("stride_in", "conv1") != "conv1",
        "starts shortcuts after the activation": lambda: arguments.get("shortcut_from", "activation") != "activation",
        "has shortcuts of 1x1 convolutions": lambda: arguments.get("projection_size", 1) != 1,
        "has convolutions without bias": lambda: (
            layout != "vgg_torch" and any(slot.kind == "convolution" and "bias" in slot.shapes for slot in slots)
        ),
        "has ReLU after every sum": lambda: (
            "branch" in "".join(names) and arguments.get("block_type", "original") == "original"
        ),
        # The shortcut of every first block starts elsewhere, and the shapes are equal.
        "has other shortcuts in pre-activated networks of two convolutions per block": lambda: (
            preactivated and not bottleneck and not wide and "stem_bn" not in names
        ),
        "has no pre-activated networks": lambda: layout in ("torchvision", "kuangliu") and preactivated,
    }
    return next((text for text, differs in checks.items() if differs()), "")


def torch_state(model: "keras.Model", layout: str) -> dict[str, np.ndarray]:
    """Return a model's weights by PyTorch's names, with PyTorch's axes, and BatchNormalization's counters of steps.

    Args:
        model: A model that `torch_layout` accepts.
        layout: The key map.
    """
    slots, arrays, naming = slots_of(model), model_arrays(model), layout_named(layout).naming
    places = layout_named(layout).places_of(slots)
    state = {}
    for slot in slots:
        (place, *_) = places[slot.name] or ("",)
        for role, array in zip(slot.shapes, _of(arrays, slot), strict=True):
            moved = array
            if role == "kernel":
                moved = array.transpose(3, 2, 0, 1) if slot.kind == "convolution" else array.T
            state[f"{place}{naming.separator}{naming.names[role]}"] = moved.astype(np.float32)
        if slot.kind == "batch_norm":
            state[f"{place}.num_batches_tracked"] = np.array(0, np.int64)
    return state


def _of(arrays: LayerArrays, slot: Slot) -> list[np.ndarray]:
    return arrays.layers[slot.name]
