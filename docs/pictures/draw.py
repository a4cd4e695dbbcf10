"""Draw the pictures of the documentation that need models or data: `python docs/pictures/draw.py [NAME ...]`.

Blocks of every family come from the Keras models themselves. Predictions and galleries show test images of CIFAR-10,
which have to be in $CIFARZOO_DATA. Drawing the pictures again changes nothing unless models or augmentations change.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import block_diagrams
import gallery
import predictions
from block_graphs import block

FIGURES = Path(__file__).parents[1] / "figures"
POLICIES = Path(__file__).parents[2] / "recipes" / "policies" / "autoaugment_cifar10.yaml"
BOTTLENECK = {"depth": 29, "bottleneck": True, "block_type": "preactivated"}
# The blocks of every family: title, factory, arguments, the operation that the block follows, and its last one.
BLOCKS: dict[str, list[tuple[str, str, dict, str, str]]] = {
    "vgg": [("third group of VGG-11", "cifar_vgg11", {}, "group2_pool", "group3_pool")],
    "resnet": [
        ("original, shortcut A", "cifar_resnet20", {}, "stage1_block3_relu2", "stage2_block1_relu2"),
        (
            "pre-activated",
            "cifar_resnet20",
            {"block_type": "preactivated"},
            "stage2_block1_add",
            "stage2_block2_add",
        ),
        (
            "pre-activated bottleneck",
            "cifar_resnet",
            {"depth": 29, "bottleneck": True, "block_type": "preactivated"},
            "stage2_block1_add",
            "stage2_block2_add",
        ),
    ],
    "resnet18": [("first block of a stage", "cifar_resnet18", {}, "stage1_block2_relu2", "stage2_block1_relu2")],
    "pyramidnet": [
        ("basic block", "cifar_pyramidnet110_a48", {}, "stage1_block1_add", "stage1_block2_add"),
        ("with ShakeDrop", "cifar_pyramidnet110_a48", {"shake_drop": True}, "stage1_block1_add", "stage1_block2_add"),
    ],
    "resnext": [("block of 8x64d", "cifar_resnext29_8x64d", {}, "stage1_block1_relu3", "stage1_block2_relu3")],
    "wide_resnet": [
        ("first block of a stage", "cifar_wrn_16_4", {"dropout": 0.3}, "stage1_block2_add", "stage2_block1_add"),
        ("other blocks", "cifar_wrn_16_4", {"dropout": 0.3}, "stage2_block1_add", "stage2_block2_add"),
    ],
    "shake_shake": [
        ("first block of a stage", "cifar_shake_shake26_2x32d", {}, "stage1_block4_add", "stage2_block1_add")
    ],
    "skipnet": [("a block and its gate", "cifar_skipnet38", {}, "before_gates", "add")],
    "resnet9": [
        ("widening", "cifar_resnet9", {}, "stem_size", "stage1_pool"),
        ("residual pair", "cifar_resnet9", {}, "stage1_pool", "stage1_residual_add"),
    ],
    "resnet8": [("block of the second stage", "cifar_resnet8", {}, "stage1_block1_relu2", "stage2_block1_relu2")],
    "airbench": [("second group", "cifar_airbench94", {}, "group1_unit2_gelu", "group2_unit2_gelu")],
}


def blocks(family: str) -> str:
    """Return the picture of a family's blocks."""
    import keras

    import cifarzoo

    drawn = {}
    for title, factory, arguments, first, last in BLOCKS[family]:
        keras.backend.clear_session()  # operations without a name of their own are counted from the start
        model = cifarzoo.create_model(factory, **arguments)
        drawn[title] = block(model, first, last)
    return block_diagrams.picture(drawn)


def draw_blocks() -> None:
    """Draw the blocks of every family."""
    for family in BLOCKS:
        (FIGURES / "blocks" / f"{family}.svg").write_text(blocks(family), encoding="utf-8")


def draw_predictions() -> None:
    """Draw what the network of the README's example says of its images."""
    import keras

    import cifarzoo

    data = cifarzoo.load_data("cifar10")
    images = data.test.images[:8]
    logits = cifarzoo.create_model("resnet20_v1_cifar10_200ep_s0").predict(images, verbose=0)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    names = [data.class_names[index] for index in probabilities.argmax(axis=1)]
    for scheme, ink in predictions.INK.items():
        text = predictions.picture(images, names, list(probabilities.max(axis=1)), ink)
        (FIGURES / f"predictions-{scheme}.svg").write_text(text, encoding="utf-8")


def draw_contact_sheets() -> None:
    """Draw the contact sheet of docs/predict.md, with Grad-CAM, for light and dark pages."""
    import cifarzoo

    images = cifarzoo.load_data("cifar10").test.images[[4, 6, 8, 12, 13, 3]]
    answers = cifarzoo.predict(images)
    for scheme in ("light", "dark"):
        sheet = answers.contact_sheet(explain=True, columns=3, dark=scheme == "dark")
        sheet.save(FIGURES / f"contact_sheet-{scheme}.webp", quality=88)


def draw_gallery() -> None:
    """Draw ten test images, one of each class, and what every augmentation makes of them."""
    import numpy as np

    import cifarzoo
    from cifarzoo.augment.spec import PIPELINES, SPECS

    test = cifarzoo.load_data("cifar10").test
    chosen = [int(np.flatnonzero(test.labels == label)[0]) for label in range(10)]
    images, labels = test.images[chosen], test.labels[chosen]
    folder = FIGURES / "gallery"
    gallery.strip([images], folder / "original.webp")
    for name in [*SPECS, *(name for name in PIPELINES if name not in SPECS)]:
        if name == "none":
            continue
        augmentation = [with_file(name)] if name in SPECS else name
        gallery.strip(gallery.augmented(augmentation, images, labels), folder / f"{name}.webp")


def with_file(name: str) -> Any:
    """Return an entry of an augmentation; `policies` has those that come with the recipes."""
    if name != "policies":
        return name
    from cifarzoo.augment.spec import PolicyList

    return {name: PolicyList.with_files({"file": POLICIES.name}, [POLICIES.parent])}


DRAWN: dict[str, Callable[[], None]] = {
    "blocks": draw_blocks,
    "predictions": draw_predictions,
    "contact_sheets": draw_contact_sheets,
    "gallery": draw_gallery,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or DRAWN:
        DRAWN[name]()
