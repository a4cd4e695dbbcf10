"""For every entry of the table: a network with random weights that was not written here or from our models.

The networks of osmr are pytorchcv's; the others are in `torch_networks`. Their input statistics are stated here once
more, as the sources state them, so that a wrong one in the table shows.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import foreign_files as files
import numpy as np
import torch
import torch_networks as networks
from torch import nn

# Means and standard deviations of red, green and blue, on 0-1.
STATISTICS = {
    "kuangliu": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "chenyaofo_cifar100": ((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
    "weiaicunzai": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "hendrycks": ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),
}

DEPTH = re.compile(r"(?:resnet|vgg)_?(\d+)")


@dataclass(frozen=True)
class Reference:
    """A network, how its project saves it, and what it expects as input.

    Attributes:
        network: A PyTorch module from normalized images [n, 3, 32, 32] to logits.
        savers: Functions that write it to a path, by the format of the file, and return the path to read.
        statistics: Mean and standard deviation on 0-1, or None: those of the entry.
    """

    network: nn.Module
    savers: dict[str, Callable[[Path, nn.Module], Path]]
    statistics: tuple | None

    def logits(self, images, statistics=None):
        """Return the logits for uint8 images [n, 32, 32, 3]."""
        x = normalized(images, self.statistics or statistics, "float64" if self.is_deep else "float32")
        with torch.no_grad():
            logits = self.network.to(x.dtype)(x).numpy()
        self.network.float()
        return logits

    @property
    def is_deep(self):
        """Whether rounding adds up over so many layers that both networks compute in float64."""
        return sum(isinstance(module, nn.Conv2d) for module in self.network.modules()) > 150


def normalized(images, statistics, dtype="float32"):
    """Return uint8 images [n, 32, 32, 3] as a network of PyTorch sees them."""
    mean, std = (np.asarray(value, "float64") for value in statistics)
    x = (images / 255 - mean) / std
    return torch.from_numpy(x.transpose(0, 3, 1, 2).astype(dtype))


def random_images(count, seed=0):
    """Return uint8 images [count, 32, 32, 3]: every other one noise, the others coarse patterns with less noise."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (count, 32, 32, 3))
    coarse = np.repeat(np.repeat(rng.integers(0, 256, (count, 4, 4, 3)), 8, axis=1), 8, axis=2)
    images = np.where(np.arange(count)[:, None, None, None] % 2, noise, 0.7 * coarse + 0.3 * noise)
    return images.astype("uint8")


def randomize(network, statistics, seed=0):
    """Draw BatchNormalization's arrays and all biases, far from zeros and ones.

    The moving statistics are those of images, disturbed: with arbitrary ones the activations of deep networks overflow.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = lambda like, low, high: torch.empty_like(like).uniform_(low, high, generator=generator)  # noqa: E731
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(draw(module.weight, 0.4, 1.6))
                module.bias.copy_(draw(module.bias, -0.5, 0.5))
                module.momentum = 1.0
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    module.bias.copy_(draw(module.bias, -0.5, 0.5))
        network.train()(normalized(random_images(16, seed + 1), statistics))
        for norm in norms:
            norm.running_mean += draw(norm.running_mean, -0.4, 0.4) * norm.running_var.sqrt()
            norm.running_var *= draw(norm.running_var, 0.5, 2.0)
    return network.eval()


def torch_savers(**options):
    return {"torch": lambda path, network: files.save_torch(path, network, **options)}


def with_state(**others):
    """The dictionary around a state dict."""
    return lambda state: {"state_dict": state} | others


def trained_state(state):
    """What Fast AutoAugment saves: results, and an optimizer with a buffer for every parameter."""
    buffers = {i: {"momentum_buffer": torch.zeros_like(tensor)} for i, tensor in enumerate(state.values())}
    results = {"loss": 0.1, "top1": 0.97, "top5": 0.99}
    return {
        "epoch": 1800,
        "log": {"train": results, "valid": results, "test": results},
        "optimizer": {"state": buffers, "param_groups": [{"lr": 0.01, "nesterov": True, "params": list(buffers)}]},
        "model": state,
        "ema": None,
    }


def _osmr(name, classes):
    family = importlib.import_module(f"pytorchcv.models.{re.match(r'[a-z]+', name)[0]}_cifar")
    network = getattr(family, f"{name.rsplit('_', 1)[0]}_cifar{classes}")()
    return network, torch_savers(legacy=True) | {"npz": files.save_chainer}, STATISTICS["kuangliu"]


def _akamaster(name, classes):
    options = {"shortcut": networks.Zeros, "shortcut_name": "shortcut", "classifier": "linear"}
    network = networks.resnet(int(DEPTH.search(name)[1]), classes, **options)
    return (
        network,
        torch_savers(legacy=True, prefix="module.", around=with_state(best_prec1=91.7)),
        STATISTICS["imagenet"],
    )


def _chenyaofo(name, classes):
    depth = int(DEPTH.search(name)[1])
    network = networks.VggHiddenHead(depth, classes) if "vgg" in name else networks.resnet(depth, classes)
    return network, torch_savers(), STATISTICS["chenyaofo_cifar100" if "cifar100" in name else "kuangliu"]


def _edadaltocg(name, classes):
    network = networks.VggTimm(16, classes) if "vgg" in name else networks.resnet18(classes)
    return network, torch_savers(), STATISTICS["weiaicunzai" if "cifar100" in name else "kuangliu"]


def _fast_autoaugment(name, classes):
    if "wresnet" in name:
        network = networks.FastAutoAugmentWideResNet(*(int(n) for n in re.findall(r"(\d+)x(\d+)", name)[0]), classes)
    elif "shake" in name:
        network = networks.FastAutoAugmentShakeShake(26, int(re.search(r"2x(\d+)d", name)[1]), classes)
    else:
        network = networks.FastAutoAugmentPyramidNet(272, 200, classes)
    return network, torch_savers(legacy=True, prefix="module.", around=trained_state), STATISTICS["kuangliu"]


def _hendrycks(name, classes):
    return networks.WideResNet(40, 2, classes), torch_savers(legacy=True), STATISTICS["hendrycks"]


def _distiller(name, classes):
    around = with_state(epoch=180, arch="resnet20_cifar", best_top1=92.54, optimizer={"state": {}, "param_groups": []})
    return networks.resnet(20, classes), torch_savers(legacy=True, prefix="module.", around=around), STATISTICS["half"]


def _ehanw(name, classes):
    network = networks.resnet(20, classes, shortcut_name="shortcut", classifier="linear")
    return network, torch_savers(), STATISTICS["imagenet"]


def _jaeunglee(name, classes):
    return networks.resnet18(classes), torch_savers(), STATISTICS["kuangliu"]


def _vainf(name, classes):
    return networks.resnet(56, classes), torch_savers(), STATISTICS["kuangliu"]


def _repdistiller(name, classes):
    if name.startswith("wrn"):
        network = networks.WideResNet(40, 2, classes)
    else:
        network = networks.resnet(int(DEPTH.search(name)[1]), classes)
    around = lambda state: {"epoch": 240, "model": state, "accuracy": torch.tensor(0.75)}  # noqa: E731
    return network, torch_savers(legacy=True, around=around), STATISTICS["weiaicunzai"]


def _lasagne(name, classes):
    depth = 6 * int(name[-1]) + 2
    return networks.lasagne_resnet(depth, classes), {"npz": files.save_lasagne}, None


def _sjmikler(name, classes):
    depth = int(DEPTH.search(name)[1])
    if "vgg" in name:
        network = networks.keras_vgg(depth, classes)
    else:
        network = networks.keras_resnet(
            depth, classes, {110: "preactivated", 164: "bottleneck", 1001: "bottleneck"}.get(depth, "original")
        )
    return network, {"tensorflow": files.save_keras_checkpoint}, STATISTICS["kuangliu"]


SOURCES = {
    "akamaster": _akamaster,
    "chenyaofo": _chenyaofo,
    "distiller": _distiller,
    "edadaltocg": _edadaltocg,
    "ehanw": _ehanw,
    "fast_autoaugment": _fast_autoaugment,
    "hendrycks": _hendrycks,
    "jaeunglee": _jaeunglee,
    "lasagne": _lasagne,
    "osmr": _osmr,
    "repdistiller": _repdistiller,
    "sjmikler": _sjmikler,
    "vainf": _vainf,
}


def _robustbench(entry, classes):
    """The names say little here, so that depth and width are those of the table."""
    if "ResNeXt" in entry.name:
        network = networks.with_input_statistics(networks.ResNeXt(29, 4, 32, classes))
        return network, torch_savers(prefix="module.", around=with_state(epoch=200)), STATISTICS["half"]
    if entry.layout == "kuangliu":
        network = networks.resnet18(classes, shortcut_name="shortcut", classifier="linear")
        return network, torch_savers(prefix="model."), None
    numbers = re.findall(r"\d+", entry.factory) or (entry.arguments["depth"], entry.arguments["width"])
    depth, width = (int(number) for number in numbers)
    if "AugMix" in entry.name:
        network = networks.with_input_statistics(networks.WideResNet(depth, width, classes))
        return network, torch_savers(prefix="module.", around=with_state(epoch=100)), STATISTICS["half"]
    network = networks.WideResNet(depth, width, classes)
    return network, torch_savers(legacy=True, prefix="module."), None


def without_input_statistics(network):
    """Remove the buffers that only AugMix' networks have."""
    for name in ("mu", "sigma"):
        network._buffers.pop(name, None)
    return network


def reference(entry, classes=None, seed=0):
    """Return an entry's network with random weights, for its own or another number of classes."""
    torch.manual_seed(seed)
    source, name = entry.name.split("/", 1)
    classes = classes or entry.classes
    make = _robustbench(entry, classes) if source == "robustbench" else SOURCES[source](name, classes)
    network, savers, statistics = make
    randomize(network, statistics or STATISTICS["kuangliu"], seed)
    return Reference(network, savers, statistics)
