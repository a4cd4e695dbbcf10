"""Networks of the zoo in plain PyTorch, for comparing speed: ten classes, NCHW, random images."""

import torch
from torch import nn
from torch.nn import functional as F


def conv(channels, filters, kernel=3, stride=1):
    """Return a convolution without bias that keeps the image size, or halves it with stride 2."""
    return nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)


def append_channels(x, filters):
    """Append zero channels up to `filters`."""
    return F.pad(x, (0, 0, 0, 0, 0, filters - x.shape[1]))


class OriginalBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus shortcut A, then ReLU (He et al. 2015)."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.branch = nn.Sequential(
            conv(channels, filters, 3, stride),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            conv(filters, filters),
            nn.BatchNorm2d(filters),
        )
        self.stride, self.filters = stride, filters

    def forward(self, x):
        """Map a batch NCHW to a batch NCHW."""
        return F.relu(self.branch(x) + append_channels(x[:, :, :: self.stride, :: self.stride], self.filters))


class PreactivatedBlock(nn.Module):
    """BN-ReLU-conv for each (filters, kernel, stride); where the shape changes, a 1x1 convolution is the shortcut.

    Args:
        channels: Input channels.
        convolutions: Filters, kernel size and stride of each convolution.
        share_activation: Whether the shortcut starts after the first ReLU.
    """

    def __init__(self, channels, convolutions, share_activation):
        super().__init__()
        self.first, parts = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()), []
        width, stride = channels, 1
        for number, (filters, kernel, one_stride) in enumerate(convolutions):
            parts += [nn.BatchNorm2d(width), nn.ReLU()] if number else []
            parts.append(conv(width, filters, kernel, one_stride))
            width, stride = filters, stride * one_stride
        self.branch, self.share_activation = nn.Sequential(*parts), share_activation
        self.projection = conv(channels, width, 1, stride) if stride > 1 or width != channels else None

    def forward(self, x):
        """Map a batch NCHW to a batch NCHW."""
        y = self.first(x)
        if self.projection is not None:
            x = self.projection(y if self.share_activation else x)
        return x + self.branch(y)


class PyramidBlock(nn.Module):
    """Bottleneck block of a PyramidNet: BN-conv-BN-ReLU-conv-BN-ReLU-conv-BN, with a shortcut without parameters."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(channels),
            conv(channels, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            conv(width, width, 3, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            conv(width, 4 * width, 1),
            nn.BatchNorm2d(4 * width),
        )
        self.stride, self.filters = stride, 4 * width

    def forward(self, x):
        """Map a batch NCHW to a batch NCHW."""
        y = self.branch(x)
        return y + append_channels(F.avg_pool2d(x, 2) if self.stride > 1 else x, self.filters)


def head(channels, activated):
    """Return pooling and classifier, after BatchNormalization and ReLU where the last block does not end with them."""
    final = [] if activated else [nn.BatchNorm2d(channels), nn.ReLU()]
    return [*final, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def original_resnet(depth):
    """Build a ResNet of original basic blocks."""
    layers, channels = [conv(3, 16), nn.BatchNorm2d(16), nn.ReLU()], 16
    for stage, filters in enumerate((16, 32, 64)):
        for block in range((depth - 2) // 6):
            layers.append(OriginalBlock(channels, filters, 2 if stage and not block else 1))
            channels = filters
    return nn.Sequential(*layers, *head(channels, activated=True))


def resnet164():
    """Build ResNet-164 of pre-activated bottleneck blocks."""
    layers, channels = [conv(3, 16)], 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(18):
            shapes = [(width, 1, 1), (width, 3, 2 if stage and not block else 1), (4 * width, 1, 1)]
            layers.append(PreactivatedBlock(channels, shapes, share_activation=not block))
            channels = 4 * width
    return nn.Sequential(*layers, *head(channels, activated=False))


def wide_resnet(depth, factor):
    """Build a Wide ResNet."""
    layers, channels = [conv(3, 16)], 16
    for stage, filters in enumerate((16 * factor, 32 * factor, 64 * factor)):
        for block in range((depth - 4) // 6):
            shapes = [(filters, 3, 2 if stage and not block else 1), (filters, 3, 1)]
            layers.append(PreactivatedBlock(channels, shapes, share_activation=True))
            channels = filters
    return nn.Sequential(*layers, *head(channels, activated=False))


def pyramidnet(depth, alpha):
    """Build a PyramidNet of bottleneck blocks."""
    blocks = (depth - 2) // 3
    layers, channels = [conv(3, 16), nn.BatchNorm2d(16)], 16
    for i in range(blocks):
        width = int(16 + alpha * (i + 1) / blocks + 0.5)
        stride = 2 if i in (blocks // 3, 2 * blocks // 3) else 1
        layers.append(PyramidBlock(channels, width, stride))
        channels = 4 * width
    return nn.Sequential(*layers, *head(channels, activated=False))


def vgg16():
    """Build VGG-16 with BatchNormalization and one linear layer."""
    layers, channels = [], 3
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *head(channels, activated=True))


NETWORKS = {
    "resnet20": lambda: original_resnet(20),
    "resnet56": lambda: original_resnet(56),
    "resnet110": lambda: original_resnet(110),
    "resnet164": resnet164,
    "vgg16": vgg16,
    "wrn_16_4": lambda: wide_resnet(16, 4),
    "wrn_28_10": lambda: wide_resnet(28, 10),
    "pyramidnet272_a200": lambda: pyramidnet(272, 200),
}


def trainer(name, batch_size, bfloat16, channels_last, compiled):
    """Return a function that trains a number of steps with crop and flip on the device and waits until they are done.

    Args:
        name: One of `NETWORKS`.
        batch_size: Images per step.
        bfloat16: Autocast to bfloat16 instead of computing in float32.
        channels_last: Use the memory layout NHWC.
        compiled: Mode of `torch.compile`, or None for eager execution.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # times several convolution algorithms, as XLA does
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = NETWORKS[name]().to(device, memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=5e-4)
    images = torch.randint(0, 256, (2048, 3, 32, 32), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (2048,), device=device)

    def loss_of(x, y):
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            return F.cross_entropy(model(x), y)

    if compiled:
        loss_of = torch.compile(loss_of, mode=compiled)

    def step():
        indices = torch.randint(0, 2048, (batch_size,), device=device)
        x = F.pad(images[indices], (4, 4, 4, 4))
        down, across = (int(v) for v in torch.randint(0, 9, (2,)))
        x = x[:, :, down : down + 32, across : across + 32]
        x = torch.where(torch.rand(batch_size, 1, 1, 1, device=device) < 0.5, x.flip(3), x)
        x = ((x.float() - 120) / 64).to(memory_format=layout)
        loss = loss_of(x, labels[indices])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def train(steps):
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return train
