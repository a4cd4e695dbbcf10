"""Other projects' networks in PyTorch, with the names that their state dicts have.

Written from the projects' descriptions and independent of cifarzoo's own models. All start with random weights.
"""

import torch
from torch import nn
from torch.nn import functional as F


def conv(inputs, outputs, size=3, stride=1, groups=1, bias=False):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=bias)


class Zeros(nn.Module):
    """Every second pixel, with zero channels on both sides."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride, self.zeros = stride, (outputs - inputs) // 2

    def forward(self, x):
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.zeros, self.zeros))


def projection(inputs, outputs, stride):
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class OriginalBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, shortcut, shortcut_name):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut_name = shortcut_name if stride > 1 or inputs != outputs else None
        if self.shortcut_name:
            self.add_module(shortcut_name, shortcut(inputs, outputs, stride))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.get_submodule(self.shortcut_name)(x) if self.shortcut_name else x))


class ResNet(nn.Module):
    """ResNets of basic blocks under torchvision's names, which many projects have, or with names given."""

    def __init__(self, widths, blocks, classes, shortcut=projection, shortcut_name="downsample", classifier="fc"):
        super().__init__()
        self.conv1, self.bn1 = conv(3, widths[0]), nn.BatchNorm2d(widths[0])
        self.stages, self.classifier, inputs = len(widths), classifier, widths[0]
        for stage, width in enumerate(widths, start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                layer.append(OriginalBlock(inputs, width, stride, shortcut, shortcut_name))
                inputs = width
            self.add_module(f"layer{stage}", layer)
        self.add_module(classifier, nn.Linear(inputs, classes))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.get_submodule(self.classifier)(x.mean((2, 3)))


def resnet(depth, classes, **names):
    """The networks of 6 n + 2 layers for CIFAR."""
    return ResNet((16, 32, 64), (depth - 2) // 6, classes, **names)


def resnet18(classes, **names):
    """ResNet-18 with a 3x3 stem and no pooling after it."""
    return ResNet((64, 128, 256, 512), 2, classes, **names)


VGG = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def vgg_features(depth):
    layers, inputs = [], 3
    for count, width in zip(VGG[depth], (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            layers += [conv(inputs, width, bias=True), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


class VggHiddenHead(nn.Module):
    """VGG as chenyaofo has it, with two hidden layers of 512."""

    def __init__(self, depth, classes):
        super().__init__()
        self.features = vgg_features(depth)
        self.classifier = nn.Sequential(
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(512, classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class VggTimm(nn.Module):
    """VGG of timm without its hidden layers, as detectors has it."""

    def __init__(self, depth, classes):
        super().__init__()
        self.features, self.head = vgg_features(depth), nn.Module()
        self.head.fc = nn.Linear(512, classes)

    def forward(self, x):
        return self.head.fc(self.features(x).mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, stride=stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs)
        self.convShortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x):
        y = F.relu(self.bn1(x))
        shortcut = self.convShortcut(y) if self.convShortcut else x
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(y))))


class WideResNet(nn.Module):
    """Wide ResNets as TRADES, RobustBench, AugMix and outlier-exposure have them."""

    def __init__(self, depth, width, classes):
        super().__init__()
        self.conv1, inputs = conv(3, 16), 16
        for stage in (1, 2, 3):
            block, outputs = nn.Module(), 16 * width * 2 ** (stage - 1)
            block.layer = nn.Sequential()
            for i in range((depth - 4) // 6):
                block.layer.append(WideBlock(inputs, outputs, 2 if stage > 1 and i == 0 else 1))
                inputs = outputs
            self.add_module(f"block{stage}", block)
        self.bn1, self.fc = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.conv1(x)
        for block in (self.block1, self.block2, self.block3):
            x = block.layer(x)
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


def with_input_statistics(network):
    """Add the buffers of AugMix' networks, whose files have the input's mean and standard deviation too."""
    for name in ("mu", "sigma"):
        network.register_buffer(name, torch.full((1, 3, 1, 1), 0.5))
    return network


class AggregatedBlock(nn.Module):
    def __init__(self, inputs, outputs, inner, groups, stride):
        super().__init__()
        self.conv_reduce, self.bn_reduce = conv(inputs, inner, 1), nn.BatchNorm2d(inner)
        self.conv_conv, self.bn = conv(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner)
        self.conv_expand, self.bn_expand = conv(inner, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride) if inputs != outputs else None

    def forward(self, x):
        y = F.relu(self.bn_reduce(self.conv_reduce(x)))
        y = self.bn_expand(self.conv_expand(F.relu(self.bn(self.conv_conv(y)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class ResNeXt(nn.Module):
    """ResNeXt of prlz77/ResNeXt.pytorch, which AugMix uses."""

    def __init__(self, depth, groups, group_width, classes):
        super().__init__()
        self.conv_1_3x3, self.bn_1, inputs = conv(3, 64), nn.BatchNorm2d(64), 64
        for stage in (1, 2, 3):
            layer, widening = nn.Sequential(), 2 ** (stage - 1)
            for block in range((depth - 2) // 9):
                stride = 2 if stage > 1 and block == 0 else 1
                inner = groups * group_width * widening
                layer.append(AggregatedBlock(inputs, 256 * widening, inner, groups, stride))
                inputs = 256 * widening
            self.add_module(f"stage_{stage}", layer)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn_1(self.conv_1_3x3(x)))
        return self.classifier(self.stage_3(self.stage_2(self.stage_1(x))).mean((2, 3)))


class WideBlockLateStride(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, bias=True)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, stride=stride, bias=True)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut.append(conv(inputs, outputs, 1, stride, bias=True))

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(y))) + self.shortcut(x)


class FastAutoAugmentWideResNet(nn.Module):
    """Convolutions have a bias, the second one has the stride, and projections start at the block's input."""

    def __init__(self, depth, width, classes):
        super().__init__()
        self.conv1, inputs = conv(3, 16, bias=True), 16
        for stage in (1, 2, 3):
            layer, outputs = nn.Sequential(), 16 * width * 2 ** (stage - 1)
            for i in range((depth - 4) // 6):
                layer.append(WideBlockLateStride(inputs, outputs, 2 if stage > 1 and i == 0 else 1))
                inputs = outputs
            self.add_module(f"layer{stage}", layer)
        self.bn1, self.linear = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.linear(F.relu(self.bn1(x)).mean((2, 3)))


class TwoPaths(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride = stride
        self.conv1, self.conv2 = conv(inputs, outputs // 2, 1), conv(inputs, outputs // 2, 1)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = F.relu(x)
        moved = F.pad(x, (-1, 1, -1, 1))
        step = (slice(None), slice(None), slice(None, None, self.stride), slice(None, None, self.stride))
        return self.bn(torch.cat([self.conv1(x[step]), self.conv2(moved[step])], dim=1))


class ShakeBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.shortcut = TwoPaths(inputs, outputs, stride) if inputs != outputs else None
        for name in ("branch1", "branch2"):
            branch = nn.Sequential(
                nn.ReLU(), conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs),
                nn.ReLU(), conv(outputs, outputs), nn.BatchNorm2d(outputs),
            )  # fmt: skip
            self.add_module(name, branch)

    def forward(self, x):
        mixed = (self.branch1(x) + self.branch2(x)) / 2
        return mixed + (self.shortcut(x) if self.shortcut else x)


class FastAutoAugmentShakeShake(nn.Module):
    """Nothing follows the sums; the stem has a bias and no BatchNormalization."""

    def __init__(self, depth, width, classes):
        super().__init__()
        self.c_in, inputs = conv(3, 16, bias=True), 16
        for stage in (1, 2, 3):
            layer, outputs = nn.Sequential(), width * 2 ** (stage - 1)
            for block in range((depth - 2) // 6):
                layer.append(ShakeBlock(inputs, outputs, 2 if stage > 1 and block == 0 else 1))
                inputs = outputs
            self.add_module(f"layer{stage}", layer)
        self.fc_out = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc_out(F.relu(self.layer3(self.layer2(self.layer1(self.c_in(x))))).mean((2, 3)))


class PyramidBlock(nn.Module):
    def __init__(self, inputs, width, stride, keep):
        super().__init__()
        self.stride, self.keep = stride, keep
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, width, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv(width, width, stride=stride)
        self.bn3, self.conv3 = nn.BatchNorm2d(width), conv(width, 4 * width, 1)
        self.bn4 = nn.BatchNorm2d(4 * width)

    def forward(self, x):
        y = self.conv1(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.keep * self.bn4(self.conv3(F.relu(self.bn3(y))))
        x = F.avg_pool2d(x, 2, ceil_mode=True) if self.stride > 1 else x
        return y + F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))


class FastAutoAugmentPyramidNet(nn.Module):
    """PyramidNet of bottleneck blocks with ShakeDrop's factors at inference."""

    def __init__(self, depth, alpha, classes):
        super().__init__()
        per_stage = (depth - 2) // 9
        blocks = 3 * per_stage
        self.conv1, self.bn1, inputs, width = conv(3, 16), nn.BatchNorm2d(16), 16, 16.0
        for stage in (1, 2, 3):
            layer = nn.Sequential()
            for i in range(per_stage):
                width += alpha / blocks
                number = (stage - 1) * per_stage + i + 1
                stride = 2 if stage > 1 and i == 0 else 1
                layer.append(PyramidBlock(inputs, round(width), stride, 1 - 0.5 * number / blocks))
                inputs = 4 * round(width)
            self.add_module(f"layer{stage}", layer)
        self.bn_final, self.fc = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)))))
        return self.fc(F.relu(self.bn_final(x)).mean((2, 3)))


class InOrder(nn.Module):
    """A network whose layers have no names: it makes them while it first runs, in the order in which it calls them."""

    def __init__(self, program, epsilon):
        super().__init__()
        self.program, self.epsilon, self.layers = program, epsilon, nn.ModuleList()
        self.forward(torch.zeros(2, 3, 32, 32))

    def forward(self, x):
        self.position = 0
        return self.program(self, x)

    def _next(self, x, make):
        if self.position == len(self.layers):
            self.layers.append(make(x.shape[1]))
        self.position += 1
        return self.layers[self.position - 1](x)

    def conv(self, x, outputs, size=3, stride=1, same=False, bias=False):
        """With `same`, a strided 3x3 convolution pads right and bottom only, as TensorFlow does."""
        if same and stride > 1 and size > 1:
            x = F.pad(x, (0, 1, 0, 1))
            return self._next(x, lambda inputs: nn.Conv2d(inputs, outputs, size, stride, 0, bias=bias))
        return self._next(x, lambda inputs: conv(inputs, outputs, size, stride, bias=bias))

    def bn_relu(self, x):
        return F.relu(self.bn(x))

    def bn(self, x):
        return self._next(x, lambda inputs: nn.BatchNorm2d(inputs, self.epsilon))

    def dense(self, x, outputs):
        return self._next(x, lambda inputs: nn.Linear(inputs, outputs))


def stages(blocks, widths):
    """(width, stride) of every block."""
    return [(w, 2 if stage > 0 and b == 0 else 1) for stage, w in enumerate(widths) for b in range(blocks)]


def lasagne_resnet(depth, classes):
    def run(net, x):
        x = net.bn_relu(net.conv(x, 16))
        for width, stride in stages((depth - 2) // 6, (16, 32, 64)):
            y = net.bn(net.conv(net.bn_relu(net.conv(x, width, stride=stride)), width))
            x = F.relu(y + (x if width == x.shape[1] else Zeros(x.shape[1], width, stride)(x)))
        return net.dense(x.mean((2, 3)), classes)

    return InOrder(run, 1e-4)


def keras_resnet(depth, classes, kind):
    """Networks of sjmikler/resnets: "original" (shortcut A), "preactivated" (B) or "bottleneck" (B).

    Keras counts a projection before the last convolution of its block.
    """
    bottleneck = kind == "bottleneck"
    blocks = (depth - 2) // (9 if bottleneck else 6)
    widths = (64, 128, 256) if bottleneck else (16, 32, 64)

    def run(net, x):
        x = net.bn_relu(net.conv(x, 16))
        for i, (width, stride) in enumerate(stages(blocks, widths)):
            if kind == "original":
                y = net.bn_relu(net.conv(x, width, 3, stride, same=True))
                y = net.bn(net.conv(y, width))
                if width != x.shape[1]:
                    x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, width - x.shape[1]))
                x = F.relu(x + y)
                continue
            y = x if i == 0 else net.bn_relu(x)
            source = y if bottleneck else x
            if bottleneck:
                y = net.bn_relu(net.conv(y, width // 4, 1))
            y = net.bn_relu(net.conv(y, width // 4 if bottleneck else width, 3, stride, same=True))
            x = net.conv(source, width, 1, stride) if width != x.shape[1] else x
            x = x + net.conv(y, width, 1 if bottleneck else 3)
        x = x if kind == "original" else net.bn_relu(x)
        return net.dense(x.mean((2, 3)), classes)

    return InOrder(run, 1e-3)


def keras_vgg(depth, classes):
    def run(net, x):
        for count, width in zip(VGG[depth], (64, 128, 256, 512, 512), strict=True):
            for _ in range(count):
                x = net.bn_relu(net.conv(x, width, bias=True))
            x = F.max_pool2d(x, 2)
        return net.dense(x.mean((2, 3)), classes)

    return InOrder(run, 1e-3)
