"""Which of our networks other code computes, too: equal names and shapes of all layers do not show it.

Everything that is not listed here is taken to differ, also arguments that factories get later.
"""

from collections.abc import Sequence
from typing import Any

from cifarzoo.conversion.layouts import layout_named
from cifarzoo.conversion.slots import Slot
from cifarzoo.pretrained.description import Description

EPSILON = 1e-5

# Valid values of the arguments of a factory; None allows any, because the shapes show them.
Values = dict[str, tuple[Any, ...] | None]

# GroupNormalization is another kind of layer, which the readers of layers refuse.
BATCH: Values = {"normalization": ("batch",), "normalization_groups": None}
RESNET: Values = {
    "depth": None,
    "bottleneck": (False, True),
    "block_type": ("original",),
    "shortcut_type": ("B",),
    "strided_padding": ("symmetric",),
    **BATCH,
}
RESNEXT: Values = {"depth": None, "cardinality": None, "base_width": None}
WIDE_RESNET: Values = {
    "depth": None,
    "width": None,
    "strided_padding": ("symmetric",),
    "stride_in": ("conv1",),
    "shortcut_from": ("activation",),
    "projection_size": (1,),
    "use_bias": (False,),
    **BATCH,
}
SHAKE_SHAKE: Values = {
    "depth": None,
    "width": None,
    "block_type": ("postactivated",),
    "shortcut_type": ("two_paths",),
    "strided_padding": ("symmetric",),
    "use_bias": (False,),
    "stem_batch_norm": (True,),
}
VGG: Values = {"hidden_layers": (0, 1, 2), **BATCH}
PYRAMIDNET: Values = {"shake_drop": (False,)}
PYRAMIDNETS = ("110_a48", "110_a84", "110_a270", "164_a270", "200_a240", "236_a220", "272_a200")

# Networks by key map, as our most general factories (see `catalogue.identity`) build them.
OSMR: list[tuple[str, Values]] = [
    ("cifar_resnet", RESNET | {"bottleneck": (True,), "block_type": ("preactivated",)}),
    ("cifar_resnet", RESNET),
    ("cifar_resnet18", BATCH),
    ("cifar_resnext", RESNEXT),
    ("cifar_wide_resnet", WIDE_RESNET),
    ("cifar_shake_shake", SHAKE_SHAKE),
    *((f"cifar_pyramidnet{name}", PYRAMIDNET) for name in PYRAMIDNETS),
]
NETWORKS: dict[str, list[tuple[str, Values]]] = {
    "pytorchcv": OSMR,
    "chainercv": OSMR,
    "tf2cv": OSMR,
    "torchvision": [("cifar_resnet", RESNET), ("cifar_resnet18", BATCH)],
    "akamaster": [("cifar_resnet", RESNET | {"bottleneck": (False,), "shortcut_type": ("A", "B")})],
    "kuangliu": [("cifar_resnet", RESNET), ("cifar_resnet18", BATCH)],
    "vgg_torch": [(f"cifar_vgg{depth}", VGG) for depth in (11, 13, 16, 19)],
    "hendrycks_wrn": [("cifar_wide_resnet", WIDE_RESNET)],
    "resnext_prlz": [("cifar_resnext", RESNEXT)],
}
# What it means that code lacks a value of an argument.
WORDS = {
    ("shortcut_type", "A"): "has no shortcut without parameters",
    ("strided_padding", "same"): "pads strided convolutions on all sides",
    ("stride_in", "conv2"): "has the stride in the first convolution",
    ("shortcut_from", "input"): "starts shortcuts after the activation",
    ("projection_size", "3"): "has shortcuts of 1x1 convolutions",
    ("use_bias", "True"): "has convolutions without bias",
    # Only with pre-activation: the shortcut of every first block starts elsewhere.
    ("bottleneck", "False"): "has other shortcuts (its preresnet20 is cifar_wide_resnet(depth=22, width=1))",
    ("block_type", "preactivated"): "has no pre-activated networks",
    ("block_type", "original"): "has ReLU after every sum",
    ("normalization", "none"): "has BatchNormalization",
    ("shake_drop", "True"): "has no ShakeDrop, which scales the branches at inference, too",
}


def difference(layout: str, slots: Sequence[Slot], description: Description) -> str:
    """Return in what the networks of the other code differ from ours, "" if they compute the same.

    Args:
        layout: The key map of that code, one of NETWORKS.
        slots: Our model's layers.
        description: What our model is.
    """
    if missing := [slot.name for slot in slots if layout_named(layout).places_of(slots).get(slot.name) is None]:
        return f"has no layer {missing[0]}"
    if any(slot.kind == "batch_norm" and slot.epsilon != EPSILON for slot in slots):
        return f"has another epsilon than {EPSILON:g} in BatchNormalization"
    factory, arguments = description.identity or (str(description), {})
    lacking = [_lacking(values, arguments) for name, values in NETWORKS[layout] if name == factory]
    if not lacking:
        return f"has no {factory}"
    nearest = min(lacking, key=len)
    return next((WORDS.get(pair, f"has no network with {'='.join(pair)}") for pair in nearest), "")


def _lacking(values: Values, arguments: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the arguments, with their values as text, that are not among valid values."""
    return [
        (name, str(value))
        for name, value in arguments.items()
        if name not in values or ((valid := values[name]) is not None and value not in valid)
    ]
