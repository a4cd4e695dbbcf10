"""Small members of the zoo's families, which two processor cores train in minutes; for families.yaml."""

from cifarzoo.models.registry import COMMON_ARGUMENTS


def _options(name, classes):
    options = COMMON_ARGUMENTS | {"classes": classes, "name": name, "statistics": "cifar10"}
    options.pop("load_weights")
    return options


def resnext29_2x8d(classes=10):
    """ResNeXt-29 with two groups of eight channels."""
    from cifarzoo.models.resnext import resnext

    return resnext(29, 2, 8, **_options("resnext29_2x8d", classes))


def shake_shake26_2x8d(classes=10):
    """Shake-Shake-26 with branches of eight channels."""
    from cifarzoo.models.shake_shake import shake_shake26

    return shake_shake26(8, **_options("shake_shake26_2x8d", classes))


def pyramidnet26_a24(classes=10, shake_drop=False):
    """PyramidNet of 26 layers that widens by 24 channels."""
    from cifarzoo.models.pyramidnet import pyramidnet

    return pyramidnet(26, 24, False, shake_drop, "image", **_options("pyramidnet26_a24", classes))
