"""What tells networks of other code from ours where names and shapes of all layers are equal."""

from collections.abc import Callable, Sequence

from cifarzoo.conversion.layouts import layout_named
from cifarzoo.conversion.slots import Slot
from cifarzoo.pretrained.description import Description

EPSILON = 1e-5


def difference(layout: str, slots: Sequence[Slot], description: Description) -> str:
    """Return in what the networks of the other code differ from ours, "" if they compute the same.

    Args:
        layout: The key map of that code.
        slots: Our model's layers.
        description: What our model is.
    """
    names, arguments = {slot.name for slot in slots}, description.arguments
    preactivated, bottleneck = "final_bn" in names, any(name.endswith("_conv3") for name in names)
    wide = (description.identity or ("",))[0] == "cifar_wide_resnet"
    if missing := [slot.name for slot in slots if layout_named(layout).places_of(slots).get(slot.name) is None]:
        return f"has no layer {missing[0]}"
    if any(slot.kind == "batch_norm" and slot.epsilon != EPSILON for slot in slots):
        return f"has another epsilon than {EPSILON:g} in BatchNormalization"
    checks: dict[str, Callable[[], bool]] = {
        "has no shortcut without parameters": lambda: arguments.get("shortcut_type") == "A" and layout != "akamaster",
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
        "has other shortcuts (its preresnet20 is cifar_wide_resnet(depth=22, width=1))": lambda: (
            preactivated and not bottleneck and not wide and "stem_bn" not in names
        ),
        "has no pre-activated networks": lambda: layout in ("torchvision", "akamaster", "kuangliu") and preactivated,
    }
    return next((text for text, differs in checks.items() if differs()), "")
