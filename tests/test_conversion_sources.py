"""Files as other projects save them, of small networks: converted, they give the logits of the network they come from.

benchmarks/conversion/agree.py does this for every architecture in the table; these are one network per key map.
"""

import functools
import sys
from pathlib import Path

import numpy as np
import pytest

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.conversion.convert import convert
from cifarzoo.conversion.layouts import LAYOUTS
from cifarzoo.conversion.readers import read_checkpoint
from cifarzoo.conversion.state import state_of
from cifarzoo.errors import WeightsError
from cifarzoo.models.pyramidnet import pyramidnet
from cifarzoo.models.registry import create_model

torch = pytest.importorskip("torch")
sys.path.append(str(Path(__file__).parent.parent / "benchmarks" / "conversion"))
import foreign_files as files  # noqa: E402
import torch_networks as networks  # noqa: E402
from references import (  # noqa: E402
    STATISTICS,
    normalized,
    random_images,
    randomize,
    trained_state,
    with_state,
)

IMAGES = random_images(4, seed=7)
AKAMASTER = {"shortcut": networks.Zeros, "shortcut_name": "shortcut", "classifier": "linear"}
PREACTIVATED = {"block_type": "preactivated", "shortcut_type": "B", "strided_padding": "same"}
KUANGLIU = {"shortcut_name": "shortcut", "classifier": "linear"}


def in_torch(**options):
    return functools.partial(files.save_torch, **options)


def shakedrop_pyramidnet(classes, statistics):
    """The smallest PyramidNet of bottleneck blocks; the factories have the papers' sizes only."""
    return pyramidnet(
        11, 12, True, True, "batch", classes=classes, statistics=statistics, image_size=32, include_top=True,
        include_preprocessing=True, classifier_activation=None, name="small",
    )  # fmt: skip


# Key map (and a word that tells cases apart): network, how it is saved, our factory and arguments, statistics, epsilon.
CASES = {
    "torchvision": (
        functools.partial(networks.resnet, 20), in_torch(),
        "cifar_resnet20", {"shortcut_type": "B"}, "chenyaofo_cifar100",
    ),
    "kuangliu": (
        functools.partial(networks.resnet, 20, **KUANGLIU), in_torch(prefix="model."),
        "cifar_resnet20", {"shortcut_type": "B"}, "imagenet",
    ),
    "akamaster": (
        functools.partial(networks.resnet, 20, **AKAMASTER),
        in_torch(legacy=True, prefix="module.", around=with_state(best_prec1=91.7)),
        "cifar_resnet20", {}, "imagenet",
    ),
    "hendrycks_wrn": (
        functools.partial(networks.WideResNet, 10, 2), in_torch(legacy=True),
        "cifar_wide_resnet", {"depth": 10, "width": 2}, "hendrycks",
    ),
    "trades_wrn": (
        lambda classes: networks.with_input_statistics(networks.WideResNet(10, 2, classes)),
        in_torch(prefix="module.", around=with_state(epoch=99)),
        "cifar_wide_resnet", {"depth": 10, "width": 2}, "half",
    ),
    "vgg_torch": (
        functools.partial(networks.VggHiddenHead, 11), in_torch(), "cifar_vgg11", {"hidden_layers": 2}, "kuangliu",
    ),
    "resnext_prlz": (
        lambda classes: networks.with_input_statistics(networks.ResNeXt(11, 4, 8, classes)),
        in_torch(prefix="module.", around=with_state(epoch=99)),
        "cifar_resnext", {"depth": 11, "cardinality": 4, "base_width": 8}, "half",
    ),
    "fast_autoaugment_wrn": (
        functools.partial(networks.FastAutoAugmentWideResNet, 16, 2),
        in_torch(legacy=True, prefix="module.", around=trained_state), "cifar_wide_resnet",
        {"depth": 16, "width": 2, "stride_in": "conv2", "shortcut_from": "input"}, "kuangliu",
    ),
    "fast_autoaugment_pyramid": (
        functools.partial(networks.FastAutoAugmentPyramidNet, 11, 12),
        in_torch(legacy=True, prefix="module.", around=trained_state), shakedrop_pyramidnet, {}, "kuangliu",
    ),
    "fast_autoaugment_shake": (
        functools.partial(networks.FastAutoAugmentShakeShake, 8, 8),
        in_torch(legacy=True, prefix="module.", around=trained_state),
        "cifar_shake_shake", {"depth": 8, "width": 8}, "kuangliu",
    ),
    "lasagne": (
        functools.partial(networks.lasagne_resnet, 20), files.save_lasagne, "cifar_resnet20", {}, "unit",
    ),
    "tf2cv": (
        functools.partial(networks.resnet, 20), files.save_tf2cv, "cifar_resnet20", {"shortcut_type": "B"}, "kuangliu",
    ),
    "sjmikler": (
        functools.partial(networks.keras_resnet, 20, kind="original"), files.save_keras_checkpoint,
        "cifar_resnet20", {"strided_padding": "same"}, "kuangliu", 1e-3,
    ),
    "sjmikler preactivated": (
        functools.partial(networks.keras_resnet, 20, kind="preactivated"), files.save_keras_checkpoint,
        "cifar_resnet20", PREACTIVATED, "kuangliu", 1e-3,
    ),
    "sjmikler bottleneck": (
        functools.partial(networks.keras_resnet, 20, kind="bottleneck"), files.save_keras_checkpoint, "cifar_resnet",
        PREACTIVATED | {"depth": 20, "bottleneck": True}, "kuangliu", 1e-3,
    ),
    "sjmikler vgg": (
        functools.partial(networks.keras_vgg, 11), files.save_keras_checkpoint, "cifar_vgg11", {}, "kuangliu", 1e-3,
    ),
}  # fmt: skip


def foreign(case, classes, path):
    """Return the path of a network's file, and its logits for IMAGES."""
    make, save, _, _, statistics, *_ = CASES[case]
    torch.manual_seed(0)
    network = randomize(make(classes), STATISTICS[statistics])
    with torch.no_grad():
        logits = network(normalized(IMAGES, STATISTICS[statistics])).numpy()
    return save(path, network), logits


def ours(case, classes, **changed):
    _, _, factory, arguments, statistics, *_ = CASES[case]
    make = functools.partial(create_model, factory) if isinstance(factory, str) else factory
    return make(classes=classes, **arguments | {"statistics": statistics} | changed)


def fill(model, path, layout, epsilon):
    convert(model, state_of(read_checkpoint(path)), LAYOUTS[layout], epsilon)


def difference(model, expected):
    logits = np.asarray(model(IMAGES.astype("float32"), training=False))
    return np.abs(logits - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
def test_converted_networks_give_the_same_logits(case, tmp_path):
    epsilon = CASES[case][5] if len(CASES[case]) > 5 else 1e-5
    for classes in (10, 100):
        path, expected = foreign(case, classes, tmp_path / "file.npz")
        model = ours(case, classes)
        fill(model, path, case.split()[0], epsilon)
        assert difference(model, expected) < 1e-4


# What would go unnoticed otherwise: the shapes fit.
MISTAKES = {
    "other statistics": ("hendrycks_wrn", "hendrycks_wrn", {"statistics": "kuangliu"}, 1e-5),
    "zero channels behind": ("akamaster", "kuangliu", {}, 1e-5),
    "another epsilon": ("sjmikler", "sjmikler", {}, 1e-5),
    "stride in the first convolution": (
        "fast_autoaugment_wrn", "fast_autoaugment_wrn", {"stride_in": "conv1"}, 1e-5,
    ),
    "symmetric padding": ("sjmikler", "sjmikler", {"strided_padding": "symmetric"}, 1e-3),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_comparison_notices(mistake, tmp_path):
    case, layout, changed, epsilon = MISTAKES[mistake]
    path, expected = foreign(case, 10, tmp_path / "file.npz")
    model = ours(case, 10, **changed)
    fill(model, path, layout, epsilon)
    assert difference(model, expected) > 1e-4


def test_another_number_of_classes_is_refused(tmp_path):
    path, _ = foreign("torchvision", 100, tmp_path / "file.pt")
    with pytest.raises(WeightsError, match="fc.weight"):
        fill(ours("torchvision", 10), path, "torchvision", 1e-5)


def test_tf2cv_kernels_of_groups_are_joined_by_number():
    kernels = {n: np.full((3, 3, 2, 2), n, "float32") for n in range(1, 12)}
    folder = "features/cifar_res_ne_xt/features/features/stage1/stage1/unit1/body/conv2/conv"
    arrays = {f"{folder}/convgroup{n}/kernel:0": kernels[n] for n in sorted(kernels, key=str)}
    state = state_of(Checkpoint("keras", arrays))
    assert list(state) == ["features/stage1/unit1/body/conv2/conv/kernel"]
    assert [*state.popitem()[1][0, 0, 0, ::2]] == list(kernels)


def test_tf2cv_kernels_of_unequal_groups_are_left_over():
    arrays = {f"a/a/convgroup{n}/kernel:0": np.zeros((3, 3, 2, n), "float32") for n in (1, 2)}
    assert len(state_of(Checkpoint("keras", arrays))) == 2
