"""The same ResNet in plain PyTorch, for comparison only: He et al. 2015, shortcut A, batch 128 on random images."""

import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """conv-BN-ReLU-conv-BN plus shortcut A, then ReLU."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride, self.extra = stride, filters - channels

    def forward(self, x):
        """NCHW in and out."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1 or self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return F.relu(y + x)


def resnet(depth):
    """ResNet of `depth` layers for ten classes."""
    layers, channels = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for stage, filters in enumerate((16, 32, 64)):
        for block in range((depth - 2) // 6):
            layers.append(Block(channels, filters, 2 if stage and block == 0 else 1))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def images_per_second(depth, batch_size, steps, bfloat16, channels_last):
    """Throughput of eager training with crop and flip on the device, after a warm-up of three steps."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = resnet(depth).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=5e-4)
    images = torch.randint(0, 256, (2048, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (2048,))

    def step(number):
        places = torch.randint(0, 2048, (batch_size,))
        x = F.pad(images[places], (4, 4, 4, 4))
        down, across = (int(v) for v in torch.randint(0, 9, (2,)))
        x = x[:, :, down : down + 32, across : across + 32]
        x = torch.where(torch.rand(batch_size, 1, 1, 1) < 0.5, x.flip(3), x)
        x = ((x.float() - 120) / 64).to(memory_format=layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(model(x), labels[places])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    for number in range(3):
        step(number)
    started = time.perf_counter()
    for number in range(steps):
        step(number)
    return steps * batch_size / (time.perf_counter() - started)
