"""Other projects' networks with random weights, in a few lines of PyTorch each: independent of the code under test.

A function here both defines a network and runs it: the first time a layer is called, its weights are drawn and stored
under the name that the project gives them.
"""

import numpy as np
import torch
from torch.nn import functional

NAMES = {
    "torch": ("weight", "bias", "weight", "bias", "running_mean", "running_var", "."),
    "chainer": ("W", "b", "gamma", "beta", "avg_mean", "avg_var", "/"),
    "keras": ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "/"),
}


class Net:
    """Draws and applies layers. `state` holds their arrays as a file of the framework has them."""

    def __init__(self, framework="torch", epsilon=1e-5, bias=False):
        self.framework, self.epsilon, self.bias = framework, epsilon, bias
        self.kernel_name, self.bias_name, *self.bn_names, self.separator = NAMES[framework]
        self.random, self.state = np.random.default_rng(0), {}

    def array(self, layer, name, shape, low, high):
        key = f"{layer}{self.separator}{name}"
        if key not in self.state:
            values = self.random.uniform(low, high, shape).astype("float32")
            is_kernel = self.framework == "keras" and values.ndim > 1
            self.state[key] = values.transpose(*range(2, values.ndim), 1, 0) if is_kernel else values
        stored = self.state[key]
        if self.framework == "keras" and stored.ndim > 1:
            stored = stored.transpose(-1, -2, *range(stored.ndim - 2))
        return torch.from_numpy(np.ascontiguousarray(stored))

    def conv(self, x, name, filters, size, stride=1, groups=1, bias=None, padding=None):
        fan = size * size * x.shape[1] // groups
        bound = (6 / fan) ** 0.5
        shape = (filters, x.shape[1] // groups, size, size)
        kernel = self.array(name, self.kernel_name, shape, -bound, bound)
        has_bias = self.bias if bias is None else bias
        b = self.array(name, self.bias_name, filters, -0.5, 0.5) if has_bias else None
        return functional.conv2d(x, kernel, b, stride, size // 2 if padding is None else padding, groups=groups)

    def bn(self, x, name):
        bounds = ((0.5, 1.5), (-0.2, 0.2), (-0.2, 0.2), (0.7, 1.3))
        gamma, beta, mean, variance = (
            self.array(name, key, x.shape[1], *bound) for key, bound in zip(self.bn_names, bounds, strict=True)
        )
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=self.epsilon)

    def linear(self, x, name, outputs):
        kernel = self.array(name, self.kernel_name, (outputs, x.shape[1]), -0.3, 0.3)
        return functional.linear(x, kernel, self.array(name, self.bias_name, outputs, -0.5, 0.5))


def pooled(x):
    return x.mean((2, 3))


def original_resnet(net, x, classes, layers, blocks=1, widths=(16, 32, 64)):
    """Original basic blocks. `layers` names: stem, stem_bn, logits; conv, bn (s, b, i); projection(s, b, number)."""
    x = functional.relu(net.bn(net.conv(x, layers["stem"], widths[0], 3), layers["stem_bn"]))
    for s, width in enumerate(widths, start=1):
        for b in range(1, blocks + 1):
            stride = 2 if s > 1 and b == 1 else 1
            y = functional.relu(net.bn(net.conv(x, layers["conv"](s, b, 1), width, 3, stride), layers["bn"](s, b, 1)))
            y = net.bn(net.conv(y, layers["conv"](s, b, 2), width, 3), layers["bn"](s, b, 2))
            if stride > 1 and "projection" in layers:
                x = net.conv(x, layers["projection"](s, b, 0), width, 1, stride)
                x = net.bn(x, layers["projection"](s, b, 1))
            elif stride > 1:
                front = (width - x.shape[1]) // 2 if layers["zeros"] == "both" else 0
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, front, width - x.shape[1] - front))
            x = functional.relu(x + y)
    return net.linear(pooled(x), layers["logits"], classes)


def wide_resnet(net, x, classes, layers, blocks=1, width=1, theirs="activation"):
    """Pre-activated basic blocks. With `theirs="input"` as Fast AutoAugment has them: other stride and shortcut."""
    x = net.conv(x, layers["stem"], 16, 3)
    for s, filters in enumerate((16 * width, 32 * width, 64 * width), start=1):
        for b in range(1, blocks + 1):
            strides = (2 if s > 1 and b == 1 else 1, 1)
            y = functional.relu(net.bn(x, layers["bn"](s, b, 1)))
            if strides[0] > 1 or x.shape[1] != filters:
                before = x if theirs == "input" else y
                x = net.conv(before, layers["projection"](s, b), filters, 1, strides[0])
            first, second = strides[::-1] if theirs == "input" else strides
            y = functional.relu(net.bn(net.conv(y, layers["conv"](s, b, 1), filters, 3, first), layers["bn"](s, b, 2)))
            x = x + net.conv(y, layers["conv"](s, b, 2), filters, 3, second)
    return net.linear(pooled(functional.relu(net.bn(x, layers["final_bn"]))), layers["logits"], classes)


def shake_shake(net, x, classes, width=32, blocks=4):
    """Fast AutoAugment's: the stem has a bias and no BatchNormalization."""
    x = net.conv(x, "c_in", 16, 3, bias=True)
    for s, filters in enumerate((width, 2 * width, 4 * width), start=1):
        for b in range(blocks):
            stride, block = 2 if s > 1 and b == 0 else 1, f"layer{s}.{b}"
            sums = 0
            for k in (1, 2):
                y = net.conv(functional.relu(x), f"{block}.branch{k}.1", filters, 3, stride)
                y = net.conv(functional.relu(net.bn(y, f"{block}.branch{k}.2")), f"{block}.branch{k}.4", filters, 3)
                sums = sums + net.bn(y, f"{block}.branch{k}.5") / 2
            if x.shape[1] != filters:
                y = functional.relu(x)
                moved = functional.pad(y, (-1, 1, -1, 1))
                paths = [
                    net.conv(y, f"{block}.shortcut.conv1", filters // 2, 1, stride),
                    net.conv(moved, f"{block}.shortcut.conv2", filters // 2, 1, stride),
                ]
                x = net.bn(torch.cat(paths, 1), f"{block}.shortcut.bn")
            x = x + sums
    return net.linear(pooled(functional.relu(x)), "fc_out", classes)


def vgg11_features(net, x):
    """PyTorch's `Sequential` with BatchNormalization."""
    position = 0
    for filters in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if filters == "M":
            x, position = functional.max_pool2d(x, 2), position + 1
            continue
        x = net.conv(x, f"features.{position}", filters, 3, bias=True)
        x, position = functional.relu(net.bn(x, f"features.{position + 1}")), position + 3
    return x.flatten(1)


def vgg11(net, x, classes, logits="classifier"):
    return net.linear(vgg11_features(net, x), logits, classes)


def resnext(net, x, classes, cardinality, base_width):
    """One block per stage, in the names of prlz77/ResNeXt.pytorch."""
    relu = functional.relu
    x = relu(net.bn(net.conv(x, "conv_1_3x3", 64, 3), "bn_1"))
    for s, filters in enumerate((256, 512, 1024), start=1):
        inner, stride, block = cardinality * base_width * 2 ** (s - 1), 1 if s == 1 else 2, f"stage_{s}.0"
        y = relu(net.bn(net.conv(x, f"{block}.conv_reduce", inner, 1), f"{block}.bn_reduce"))
        y = relu(net.bn(net.conv(y, f"{block}.conv_conv", inner, 3, stride, cardinality), f"{block}.bn"))
        y = net.bn(net.conv(y, f"{block}.conv_expand", filters, 1), f"{block}.bn_expand")
        x = net.bn(net.conv(x, f"{block}.downsample.0", filters, 1, stride), f"{block}.downsample.1")
        x = relu(x + y)
    return net.linear(pooled(x), "classifier", classes)


def with_hidden_layers(net, x, classes):
    """chenyaofo's VGG: two hidden layers, each with ReLU and dropout after it."""
    y = vgg11_features(net, x)
    for number in (0, 3):
        y = functional.relu(net.linear(y, f"classifier.{number}", 512))
    return net.linear(y, "classifier.6", classes)
