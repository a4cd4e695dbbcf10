"""Shortcuts and blocks of residual networks, original and pre-activated.

The shortcut is the first operand of every sum: Keras maps a graph by recursing along first operands, and along the
branches of the deepest networks it would overflow Python's stack. This order is part of the weight files' format.
"""

from keras import layers

from cifarzoo.models.common_layers import append_channels, conv
from cifarzoo.models.normalization import BATCH


def zero_padding_shortcut(x, filters, stride, name):
    """Subsample by `stride` and append zero channels up to `filters`: shortcut A, without parameters."""
    if stride > 1:
        x = layers.MaxPooling2D(1, strides=stride, name=f"{name}_subsample")(x)
    return append_channels(x, filters)


def projection_shortcut(x, filters, stride, normalize, name, norm=BATCH):
    """Apply a 1x1 convolution, then normalization if `normalize`: shortcut B."""
    x = conv(x, filters, 1, stride, use_bias=norm.use_bias(), name=f"{name}_projection")
    return norm(x, name=f"{name}_projection_bn") if normalize else x


def shortcut(x, filters, stride, shortcut_type, normalize, name, norm=BATCH):
    """Return `x` itself where the shape stays, otherwise shortcut A or B."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    if shortcut_type == "A":
        return zero_padding_shortcut(x, filters, stride, name)
    return projection_shortcut(x, filters, stride, normalize, name, norm)


def original_block(x, filters, stride, shortcut_type, name, strided_padding="symmetric", norm=BATCH):
    """Apply conv-BN-ReLU-conv-BN with any normalization, add the shortcut, then ReLU."""
    y = norm.conv(x, filters, 3, stride, strided_padding=strided_padding, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(norm(y, name=f"{name}_bn1"))
    y = norm(norm.conv(y, filters, 3, last=True, name=f"{name}_conv2"), name=f"{name}_bn2")
    y = layers.Add(name=f"{name}_add")([shortcut(x, filters, stride, shortcut_type, True, name, norm), y])
    return layers.ReLU(name=f"{name}_relu2")(y)


def original_bottleneck(
    x, filters, inner, stride, shortcut_type, name, groups=1, strided_padding="symmetric", norm=BATCH
):
    """Apply 1x1, 3x3 and 1x1 convolutions, each with normalization, add the shortcut, then ReLU.

    The 3x3 convolution has the stride, `inner` channels and `groups`.
    """
    y = norm.conv(x, inner, 1, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(norm(y, name=f"{name}_bn1"))
    y = norm.conv(y, inner, 3, stride, groups=groups, strided_padding=strided_padding, name=f"{name}_conv2")
    y = layers.ReLU(name=f"{name}_relu2")(norm(y, name=f"{name}_bn2"))
    y = norm(norm.conv(y, filters, 1, last=True, name=f"{name}_conv3"), name=f"{name}_bn3")
    y = layers.Add(name=f"{name}_add")([shortcut(x, filters, stride, shortcut_type, True, name, norm), y])
    return layers.ReLU(name=f"{name}_relu3")(y)


def preactivated_block(x, filters, stride, shortcut_type, share_activation, name, strided_padding, norm=BATCH):
    """Apply BN-ReLU-conv twice and add the shortcut; with `share_activation` it starts after the first ReLU."""
    y = layers.ReLU(name=f"{name}_relu1")(norm(x, name=f"{name}_bn1"))
    source = y if share_activation else x
    y = norm.conv(y, filters, 3, stride, strided_padding=strided_padding, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(norm(y, name=f"{name}_bn2"))
    y = norm.conv(y, filters, 3, last=True, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut(source, filters, stride, shortcut_type, False, name, norm), y])


def preactivated_bottleneck(x, filters, stride, shortcut_type, share_activation, name, strided_padding, norm=BATCH):
    """Apply BN-ReLU-conv three times (1x1, 3x3, 1x1; the first two a quarter as wide) and add the shortcut.

    With `share_activation` the shortcut starts after the first ReLU.
    """
    y = layers.ReLU(name=f"{name}_relu1")(norm(x, name=f"{name}_bn1"))
    source = y if share_activation else x
    y = norm.conv(y, filters // 4, 1, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(norm(y, name=f"{name}_bn2"))
    y = norm.conv(y, filters // 4, 3, stride, strided_padding=strided_padding, name=f"{name}_conv2")
    y = layers.ReLU(name=f"{name}_relu3")(norm(y, name=f"{name}_bn3"))
    y = norm.conv(y, filters, 1, last=True, name=f"{name}_conv3")
    return layers.Add(name=f"{name}_add")([shortcut(source, filters, stride, shortcut_type, False, name, norm), y])
