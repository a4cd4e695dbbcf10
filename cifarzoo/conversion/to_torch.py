"""Give our weights the names and axes of PyTorch code, so that networks trained here can be used there."""

from typing import TYPE_CHECKING

import numpy as np

from cifarzoo.conversion.channels import move_zero_channels_behind
from cifarzoo.conversion.differences import difference
from cifarzoo.conversion.layouts import layout_named
from cifarzoo.conversion.match import Weights
from cifarzoo.conversion.slots import slots_of
from cifarzoo.data.statistics import PER_PIXEL, channel_statistics
from cifarzoo.errors import WeightsError
from cifarzoo.pretrained.arrays import model_arrays
from cifarzoo.pretrained.description import Description

if TYPE_CHECKING:
    import keras

# Whose networks can be written, in the order in which they are tried: chenyaofo's ResNets, akamaster's for shortcut A,
# chenyaofo's VGGs, then pytorchcv's.
TARGETS = ("torchvision", "akamaster", "vgg_torch", "pytorchcv", "kuangliu", "hendrycks_wrn", "resnext_prlz")


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
    if description.activation is not None or description.classes is None:
        raise WeightsError(f"{description}: expected a network that returns logits")
    slots = slots_of(model)
    problems = {name: difference(name, slots, description) for name in ([layout] if layout else TARGETS)}
    fitting = [name for name, problem in problems.items() if not problem]
    if not fitting:
        raise WeightsError(f"{description}: {'; '.join(f'{name} {problem}' for name, problem in problems.items())}")
    return fitting[0]


def torch_input(description: Description) -> str:
    """Say what the other code's network takes: images [n, 3, height, width] whose pixels are normalized outside."""
    if description.statistics == PER_PIXEL:
        return "pixel / 255, minus the mean image of CIFAR-10's training images"
    if description.statistics is None:
        return "what the network was trained with; the file does not say"
    mean, std = ([round(value / 255, 6) for value in values] for values in channel_statistics(description.statistics))
    return f"(pixel / 255 - {mean}) / {std}"


def torch_state(model: "keras.Model", layout: str) -> dict[str, np.ndarray]:
    """Return a model's weights by PyTorch's names, with PyTorch's axes, and BatchNormalization's counters of steps.

    Args:
        model: A model that `torch_layout` accepts.
        layout: The key map.
    """
    slots, arrays, wanted = slots_of(model), model_arrays(model), layout_named(layout)
    weights: Weights = {slot.name: dict(zip(slot.shapes, arrays.layers[slot.name], strict=True)) for slot in slots}
    if wanted.zero_channels == "both":
        move_zero_channels_behind(weights, slots, back=True)
    places, naming, state = wanted.places_of(slots), wanted.naming, {}
    for slot in slots:
        (place, *_) = places[slot.name] or ("",)
        for role, array in weights[slot.name].items():
            moved = array
            if role == "kernel":
                moved = array.transpose(3, 2, 0, 1) if slot.kind == "convolution" else array.T
            state[f"{place}{naming.separator}{naming.names[role]}"] = moved.astype(np.float32)
        if slot.kind == "batch_norm":
            state[f"{place}.num_batches_tracked"] = np.array(0, np.int64)
    return state
