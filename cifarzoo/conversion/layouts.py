"""Key maps: where every layer of ours is in the files of other projects, as data.

A layout says how a project's code names its layers, its variables, and the order of a kernel's axes. It says little
about what the network computes between them: that a layout fits does not prove that the networks are equal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cifarzoo.conversion.names import Places, Templates, translate
from cifarzoo.conversion.orders import lasagne_arrays, numbered_layers, sequential_vgg
from cifarzoo.conversion.slots import Slot
from cifarzoo.errors import WeightsError, printable


@dataclass(frozen=True)
class Naming:
    """How a framework stores variables.

    Attributes:
        names: A variable's name by role.
        separator: What stands between a layer's name and its variable's.
        kernels: Order of the axes of a convolution's kernel: outputs, inputs, height, width.
        dense_kernels: The same for a linear layer.
    """

    names: dict[str, str]
    separator: str
    kernels: Literal["OIHW", "HWIO"]
    dense_kernels: Literal["OI", "IO"]


TORCH = Naming(
    {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
    | {"mean": "running_mean", "variance": "running_var"},
    ".",
    "OIHW",
    "OI",
)
CHAINER = Naming(
    {"kernel": "W", "bias": "b", "gamma": "gamma", "beta": "beta", "mean": "avg_mean", "variance": "avg_var"},
    "/",
    "OIHW",
    "OI",
)
KERAS = Naming(
    {"kernel": "kernel", "bias": "bias", "gamma": "gamma", "beta": "beta"}
    | {"mean": "moving_mean", "variance": "moving_variance"},
    "/",
    "HWIO",
    "IO",
)


@dataclass(frozen=True)
class Layout:
    """The names in one project's files.

    Attributes:
        code: Whose code writes such files.
        places: The layers' names as templates, or a function of our layers.
        naming: The variables' names.
        arrays: A function of our layers that names every array itself, by (layer, role), in place of `places`.
        zero_channels: Where shortcut A puts the zero channels: "behind" the others, or on "both" sides.
        inverse_deviation: Whether files hold 1 / sqrt(variance + epsilon) in place of the variance.
        unused: Beginnings of names in files that the network's forward pass never uses.
        epsilon: BatchNormalization's epsilon in networks of this code.
        strided_padding: How they pad strided convolutions, in the words of our factories.
    """

    code: str
    places: Templates | Callable[[Sequence[Slot]], Places]
    naming: Naming = TORCH
    arrays: Callable[[Sequence[Slot]], dict[tuple[str, str], str]] | None = None
    zero_channels: Literal["behind", "both"] = "behind"
    inverse_deviation: bool = False
    unused: tuple[str, ...] = ()
    epsilon: float = 1e-5
    strided_padding: Literal["symmetric", "same"] = "symmetric"

    def places_of(self, slots: Sequence[Slot]) -> Places:
        """Return where the layers are; those that the layout does not know are left out."""
        if callable(self.places):
            return self.places(slots)
        return translate((slot.name for slot in slots), self.places)


# The four kinds of networks of pytorchcv and chainercv2, which share their names except for the separator.
ORIGINAL: Templates = {
    "stem_conv": "features.init_block.conv",
    "stem_bn": "features.init_block.bn",
    "stage{s}_block{b}_conv{i}": "features.stage{s}.unit{b}.body.conv{i}.conv",
    "stage{s}_block{b}_bn{i}": "features.stage{s}.unit{b}.body.conv{i}.bn",
    "stage{s}_block{b}_projection": "features.stage{s}.unit{b}.identity_conv.conv",
    "stage{s}_block{b}_projection_bn": "features.stage{s}.unit{b}.identity_conv.bn",
    "logits": ("output", "output.fc"),
}
PREACTIVATED: Templates = ORIGINAL | {
    "stem_conv": "features.init_block",
    "stage{s}_block{b}_projection": "features.stage{s}.unit{b}.identity_conv",
    "final_bn": "features.post_activ.bn",
}
# The last BatchNormalization of a block follows its last convolution.
PYRAMID: Templates = {
    "stage{s}_block{b}_bn3": "features.stage{s}.unit{b}.bn",
    "final_bn": "features.post_activ.bn",
    **ORIGINAL,
}
PYRAMID_BOTTLENECK: Templates = {
    "stage{s}_block{b}_bn4": "features.stage{s}.unit{b}.bn",
    "final_bn": "features.post_activ.bn",
    **ORIGINAL,
}
SHAKE_SHAKE: Templates = ORIGINAL | {
    "stage{s}_block{b}_branch{k}_conv{i}": "features.stage{s}.unit{b}.branch{k}.conv{i}.conv",
    "stage{s}_block{b}_branch{k}_bn{i}": "features.stage{s}.unit{b}.branch{k}.conv{i}.bn",
    "stage{s}_block{b}_shortcut_conv{i}": "features.stage{s}.unit{b}.identity_branch.conv{i}",
    "stage{s}_block{b}_shortcut_bn": "features.stage{s}.unit{b}.identity_branch.bn",
}


def pytorchcv_places(slots: Sequence[Slot]) -> Places:
    """Return the places in pytorchcv's network of the same kind as ours."""
    names = {slot.name for slot in slots}
    if "stage1_block1_branch1_conv1" in names:
        templates = SHAKE_SHAKE
    elif "final_bn" not in names:
        templates = ORIGINAL
    elif "stem_bn" not in names:
        templates = PREACTIVATED
    else:
        templates = PYRAMID_BOTTLENECK if "stage1_block1_conv3" in names else PYRAMID
    return translate(names, templates)


def chainercv_places(slots: Sequence[Slot]) -> Places:
    """Return the places in chainercv2's network, which has pytorchcv's names with slashes."""
    return {
        name: places and tuple(place.replace(".", "/") for place in places)
        for name, places in pytorchcv_places(slots).items()
    }


def tf2cv_places(slots: Sequence[Slot]) -> Places:
    """Return the places in tf2cv's network, where every convolution is a layer `conv` of its block.

    Networks that tf2cv lacks get places that no file has.
    """
    kinds = {slot.name: slot.kind for slot in slots}
    places: Places = {}
    for name, spellings in pytorchcv_places(slots).items():
        place = spellings[0].replace(".", "/") if spellings else name
        bare = kinds[name] == "convolution" and not place.endswith("/conv")
        places[name] = ("output1",) if name == "logits" else (f"{place}/conv" if bare else place,)
    return places


# ResNets as torchvision names them, and as kuangliu/pytorch-cifar does.
TORCHVISION: Templates = {
    "stem_conv": "conv1",
    "stem_bn": "bn1",
    "stage{s}_block{b}_conv{i}": "layer{s}.{b-1}.conv{i}",
    "stage{s}_block{b}_bn{i}": "layer{s}.{b-1}.bn{i}",
    "stage{s}_block{b}_projection": "layer{s}.{b-1}.downsample.0",
    "stage{s}_block{b}_projection_bn": "layer{s}.{b-1}.downsample.1",
    "final_bn": "bn",
    "logits": "fc",
}
KUANGLIU: Templates = TORCHVISION | {
    "stage{s}_block{b}_projection": "layer{s}.{b-1}.shortcut.0",
    "stage{s}_block{b}_projection_bn": "layer{s}.{b-1}.shortcut.1",
    "logits": "linear",
}
HENDRYCKS_WRN: Templates = {
    "stem_conv": "conv1",
    "stage{s}_block{b}_conv{i}": "block{s}.layer.{b-1}.conv{i}",
    "stage{s}_block{b}_bn{i}": "block{s}.layer.{b-1}.bn{i}",
    "stage{s}_block{b}_projection": "block{s}.layer.{b-1}.convShortcut",
    "final_bn": "bn1",
    "logits": "fc",
}
RESNEXT_PRLZ: Templates = {
    "stem_conv": "conv_1_3x3",
    "stem_bn": "bn_1",
    "stage{s}_block{b}_conv1": "stage_{s}.{b-1}.conv_reduce",
    "stage{s}_block{b}_bn1": "stage_{s}.{b-1}.bn_reduce",
    "stage{s}_block{b}_conv2": "stage_{s}.{b-1}.conv_conv",
    "stage{s}_block{b}_bn2": "stage_{s}.{b-1}.bn",
    "stage{s}_block{b}_conv3": "stage_{s}.{b-1}.conv_expand",
    "stage{s}_block{b}_bn3": "stage_{s}.{b-1}.bn_expand",
    "stage{s}_block{b}_projection": "stage_{s}.{b-1}.downsample.0",
    "stage{s}_block{b}_projection_bn": "stage_{s}.{b-1}.downsample.1",
    "logits": "classifier",
}
FAST_AUTOAUGMENT_SHAKE_SHAKE: Templates = {
    "stem_conv": "c_in",
    "stem_bn": None,  # the stem has a bias instead
    "stage{s}_block{b}_branch{k}_conv1": "layer{s}.{b-1}.branch{k}.1",
    "stage{s}_block{b}_branch{k}_bn1": "layer{s}.{b-1}.branch{k}.2",
    "stage{s}_block{b}_branch{k}_conv2": "layer{s}.{b-1}.branch{k}.4",
    "stage{s}_block{b}_branch{k}_bn2": "layer{s}.{b-1}.branch{k}.5",
    "stage{s}_block{b}_shortcut_conv{i}": "layer{s}.{b-1}.shortcut.conv{i}",
    "stage{s}_block{b}_shortcut_bn": "layer{s}.{b-1}.shortcut.bn",
    "logits": "fc_out",
}
FAST_AUTOAUGMENT_PYRAMIDNET: Templates = TORCHVISION | {"final_bn": "bn_final"}
FAST_AUTOAUGMENT_WRN: Templates = {
    "stem_conv": "conv1",
    "stage{s}_block{b}_conv{i}": "layer{s}.{b-1}.conv{i}",
    "stage{s}_block{b}_bn{i}": "layer{s}.{b-1}.bn{i}",
    "stage{s}_block{b}_projection": "layer{s}.{b-1}.shortcut.0",
    "final_bn": "bn1",
    "logits": "linear",
}

# In the order in which they are tried. Code with shortcut A in the names of kuangliu follows akamaster's.
LAYOUTS: dict[str, Layout] = {
    "pytorchcv": Layout("pytorchcv", pytorchcv_places),
    "chainercv": Layout("chainercv2", chainercv_places, CHAINER),
    "tf2cv": Layout("tf2cv", tf2cv_places, KERAS),
    "torchvision": Layout("torchvision's ResNets for CIFAR", TORCHVISION),
    "akamaster": Layout("akamaster/pytorch_resnet_cifar10", KUANGLIU, zero_channels="both"),
    "kuangliu": Layout("kuangliu/pytorch-cifar", KUANGLIU),
    "vgg_torch": Layout("torchvision's VGGs", sequential_vgg),
    "hendrycks_wrn": Layout("hendrycks/outlier-exposure", HENDRYCKS_WRN),
    # The constructor of TRADES makes a copy of the first stage that the forward pass does not use.
    "trades_wrn": Layout("yaodongyu/TRADES", HENDRYCKS_WRN, unused=("sub_block1.",)),
    "resnext_prlz": Layout("prlz77/ResNeXt.pytorch", RESNEXT_PRLZ),
    "fast_autoaugment_shake": Layout("Fast AutoAugment's Shake-Shake", FAST_AUTOAUGMENT_SHAKE_SHAKE),
    "fast_autoaugment_pyramid": Layout("Fast AutoAugment's PyramidNet", FAST_AUTOAUGMENT_PYRAMIDNET),
    "fast_autoaugment_wrn": Layout("Fast AutoAugment's Wide ResNet", FAST_AUTOAUGMENT_WRN),
    "sjmikler": Layout("sjmikler/resnets", numbered_layers, KERAS, epsilon=1e-3, strided_padding="same"),
    "lasagne": Layout(
        "Lasagne/Recipes",
        {},
        Naming({}, "", "OIHW", "IO"),
        arrays=lasagne_arrays,
        zero_channels="both",
        inverse_deviation=True,
    ),
}


def layout_named(name: str) -> Layout:
    """Return a layout by name.

    Raises:
        WeightsError: there is none.
    """
    if name not in LAYOUTS:
        raise WeightsError(f"{printable(name)}: unknown key map; expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
