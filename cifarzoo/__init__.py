"""A Keras 3 model zoo for CIFAR-10 and CIFAR-100, and the runner that trained it.

    from cifarzoo import cifar_resnet164, create_model, list_models

Importing this package costs neither Keras nor TensorFlow: the first use of a model brings them in.
"""

import os
from importlib.util import find_spec

from cifarzoo._version import __version__ as __version__

# TensorFlow turns oneDNN on by itself on some processors only; on others it trains at half the speed without.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Keras' own default, TensorFlow, would end in its traceback.
if not find_spec("tensorflow") and find_spec("jax"):
    os.environ.setdefault("KERAS_BACKEND", "jax")

# Type checkers take a variable of this name for true; importing `typing` for it would cost most of this import's time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from cifarzoo.models.airbench import cifar_airbench94 as cifar_airbench94
    from cifarzoo.models.airbench import cifar_airbench95 as cifar_airbench95
    from cifarzoo.models.pyramidnet import cifar_pyramidnet110_a48 as cifar_pyramidnet110_a48
    from cifarzoo.models.pyramidnet import cifar_pyramidnet110_a84 as cifar_pyramidnet110_a84
    from cifarzoo.models.pyramidnet import cifar_pyramidnet110_a270 as cifar_pyramidnet110_a270
    from cifarzoo.models.pyramidnet import cifar_pyramidnet164_a270 as cifar_pyramidnet164_a270
    from cifarzoo.models.pyramidnet import cifar_pyramidnet200_a240 as cifar_pyramidnet200_a240
    from cifarzoo.models.pyramidnet import cifar_pyramidnet236_a220 as cifar_pyramidnet236_a220
    from cifarzoo.models.pyramidnet import cifar_pyramidnet272_a200 as cifar_pyramidnet272_a200
    from cifarzoo.models.pyramidnet import cifar_shakedrop_pyramidnet272_a200 as cifar_shakedrop_pyramidnet272_a200
    from cifarzoo.models.registry import create_model as create_model
    from cifarzoo.models.registry import list_models as list_models
    from cifarzoo.models.resnet import cifar_resnet20 as cifar_resnet20
    from cifarzoo.models.resnet import cifar_resnet32 as cifar_resnet32
    from cifarzoo.models.resnet import cifar_resnet44 as cifar_resnet44
    from cifarzoo.models.resnet import cifar_resnet56 as cifar_resnet56
    from cifarzoo.models.resnet import cifar_resnet110 as cifar_resnet110
    from cifarzoo.models.resnet import cifar_resnet164 as cifar_resnet164
    from cifarzoo.models.resnet import cifar_resnet1001 as cifar_resnet1001
    from cifarzoo.models.resnet9 import cifar_resnet9 as cifar_resnet9
    from cifarzoo.models.resnet18 import cifar_resnet18 as cifar_resnet18
    from cifarzoo.models.resnext import cifar_resnext29_8x64d as cifar_resnext29_8x64d
    from cifarzoo.models.resnext import cifar_resnext29_16x64d as cifar_resnext29_16x64d
    from cifarzoo.models.resnext import cifar_resnext29_32x4d as cifar_resnext29_32x4d
    from cifarzoo.models.shake_shake import cifar_shake_shake26_2x32d as cifar_shake_shake26_2x32d
    from cifarzoo.models.shake_shake import cifar_shake_shake26_2x64d as cifar_shake_shake26_2x64d
    from cifarzoo.models.shake_shake import cifar_shake_shake26_2x96d as cifar_shake_shake26_2x96d
    from cifarzoo.models.shake_shake import cifar_shake_shake26_2x112d as cifar_shake_shake26_2x112d
    from cifarzoo.models.skipnet import cifar_pyramid_skipnet272_a200 as cifar_pyramid_skipnet272_a200
    from cifarzoo.models.skipnet import cifar_skipnet38 as cifar_skipnet38
    from cifarzoo.models.skipnet import cifar_skipnet74 as cifar_skipnet74
    from cifarzoo.models.skipnet import cifar_skipnet110 as cifar_skipnet110
    from cifarzoo.models.vgg import cifar_vgg11 as cifar_vgg11
    from cifarzoo.models.vgg import cifar_vgg13 as cifar_vgg13
    from cifarzoo.models.vgg import cifar_vgg16 as cifar_vgg16
    from cifarzoo.models.vgg import cifar_vgg19 as cifar_vgg19
    from cifarzoo.models.wide_resnet import cifar_wide_resnet as cifar_wide_resnet
    from cifarzoo.models.wide_resnet import cifar_wrn_16_4 as cifar_wrn_16_4
    from cifarzoo.models.wide_resnet import cifar_wrn_16_8 as cifar_wrn_16_8
    from cifarzoo.models.wide_resnet import cifar_wrn_26_10 as cifar_wrn_26_10
    from cifarzoo.models.wide_resnet import cifar_wrn_28_10 as cifar_wrn_28_10
    from cifarzoo.models.wide_resnet import cifar_wrn_40_2 as cifar_wrn_40_2
    from cifarzoo.models.wide_resnet import cifar_wrn_40_4 as cifar_wrn_40_4
    from cifarzoo.models.wide_resnet import cifar_wrn_40_8 as cifar_wrn_40_8

_REGISTRY_FUNCTIONS = ("create_model", "list_models")


def _homes() -> dict[str, str]:
    """The module that every lazy public name is in."""
    from cifarzoo.models.catalogue import catalogue

    homes = dict.fromkeys(_REGISTRY_FUNCTIONS, "cifarzoo.models.registry")
    for record in catalogue().values():
        homes[record.name] = f"cifarzoo.models.{record.family}"
    return homes


def __getattr__(name: str):
    if name.startswith("_"):
        if name == "__all__":
            return sorted(_homes())
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _homes().get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; cifarzoo.list_models() lists the models")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_homes()])
