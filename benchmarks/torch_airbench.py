"""Airbench94 in plain PyTorch on a processor, for comparison only: Jordan 2024, https://arxiv.org/abs/2404.00498.

The network, the hyper-parameters and the tricks are those of https://github.com/KellerJordan/cifar10-airbench:
Lookahead, alternating flip, translation by two pixels, 64 times the rate for the biases of BatchNormalization, three
epochs of training for the bias of the whitening layer, and test-time augmentation by mirror images and shifts of one
pixel. Because it runs on a processor, float32 or bfloat16 replaces half precision.
"""

import math
import time

import torch
from torch import nn
from torch.nn import functional as F

BATCH = 1024
MOMENTUM = 0.85
# The rate is 11.5 per 1024 images, divided by the gain of Nesterov momentum; the loss here is a mean.
NESTEROV_GAIN = 1 + 1 / (1 - MOMENTUM)
PEAK = 11.5 / NESTEROV_GAIN
WEIGHT_DECAY = 0.0153 / NESTEROV_GAIN
BIAS_FACTOR = 64
LABEL_SMOOTHING = 0.2
WHITENING_EPSILON = 5e-4
BIAS_EPOCHS = LOOKAHEAD_EPOCHS = 3
LOOKAHEAD_EVERY = 5
SHIFT = 2


class Group(nn.Module):
    """conv-pool-BN-GELU-conv-BN-GELU; convolutions start as the identity on their input channels."""

    def __init__(self, channels, filters):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters, eps=1e-12, momentum=0.4)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters, eps=1e-12, momentum=0.4)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad = False

    def forward(self, x):
        """Map a batch NCHW to a batch NCHW."""
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    """The network for normalized images."""

    def __init__(self, widths=(64, 256, 256), classes=10):
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        self.whitening.weight.requires_grad = False
        nn.init.zeros_(self.whitening.bias)
        pairs = zip((24, *widths[:-1]), widths, strict=True)
        self.groups = nn.Sequential(*(Group(channels, filters) for channels, filters in pairs))
        self.linear = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, x):
        """Return logits."""
        x = self.groups(F.gelu(self.whitening(x)))
        return self.linear(x.amax((2, 3))) / 9

    def whiten(self, images):
        """Take the whitening filters from normalized images."""
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / torch.sqrt(values + WHITENING_EPSILON)).T.flip(0).reshape(12, 3, 2, 2)
        self.whitening.weight.data[:] = torch.cat([filters, -filters])


def rate(step, total):
    """Return the learning rate relative to its peak: from 0.2 up to 1 after 23 % of the steps, then down to 0.07."""
    peak = int(0.23 * total)
    return 0.2 + 0.8 * step / peak if step < peak else 1 - 0.93 * (step - peak) / (total - peak)


def shifted(padded):
    """Crop every padded image at a random position."""
    images = torch.empty(len(padded), 3, 32, 32)
    offsets = torch.randint(0, 2 * SHIFT + 1, (len(padded), 2))
    for down in range(2 * SHIFT + 1):
        for across in range(2 * SHIFT + 1):
            chosen = (offsets == torch.tensor([down, across])).all(1)
            images[chosen] = padded[chosen][:, :, down : down + 32, across : across + 32]
    return images


class Lookahead:
    """Slow copies of weights and statistics, to which those of the network return every few steps."""

    def __init__(self, model):
        self.model = model
        self.slow = [value.clone() for value in self._values()]

    def _values(self):
        return [value for value in self.model.state_dict().values() if value.is_floating_point()]

    def meet(self, decay):
        """Move the slow values towards the network's by 1 - decay, and the network's to the slow ones."""
        for slow, value in zip(self.slow, self._values(), strict=True):
            slow.lerp_(value, 1 - decay)
            value.copy_(slow)


def train(images, labels, epochs=9.9, seed=0, bfloat16=False, most_steps=None):
    """Train the network.

    Args:
        images: uint8 array [n, 32, 32, 3].
        labels: Integer array [n].
        epochs: Length of training in epochs.
        seed: Seed of all random numbers.
        bfloat16: Whether to compute in bfloat16.
        most_steps: Stop after this many steps, for timing.

    Returns:
        The network, the mean and standard deviation for normalization, the seconds and the number of images trained on.
    """
    torch.manual_seed(seed)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor((0.4914, 0.4822, 0.4465)), torch.tensor((0.2470, 0.2435, 0.2616))
    statistics = mean[:, None, None], std[:, None, None]
    labels = torch.from_numpy(labels).long()
    started = time.perf_counter()
    x = (x - statistics[0]) / statistics[1]
    model = Airbench().to(memory_format=torch.channels_last)
    model.whiten(x[:5000])
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    padded = F.pad(x, (SHIFT,) * 4, "reflect")
    biases = [p for name, p in model.named_parameters() if "norm" in name and p.requires_grad]
    others = [p for name, p in model.named_parameters() if "norm" not in name and p.requires_grad]
    optimizer = torch.optim.SGD(
        [
            {"params": biases, "base": PEAK * BIAS_FACTOR, "weight_decay": WEIGHT_DECAY / (PEAK * BIAS_FACTOR)},
            {"params": others, "base": PEAK, "weight_decay": WEIGHT_DECAY / PEAK},
        ],
        lr=PEAK,
        momentum=MOMENTUM,
        nesterov=True,
    )
    per_epoch = len(x) // BATCH
    total = math.ceil(per_epoch * epochs)
    lookahead, step = None, 0
    for epoch in range(math.ceil(epochs)):
        model.whitening.bias.requires_grad = epoch < BIAS_EPOCHS
        x = shifted(padded)
        if epoch % 2:
            x = x.flip(3)
        order = torch.randperm(len(x))
        for indices in order[: per_epoch * BATCH].split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * rate(step, total)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                batch = x[indices].contiguous(memory_format=torch.channels_last)
                loss = F.cross_entropy(model(batch).float(), labels[indices], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            if epoch >= LOOKAHEAD_EPOCHS and step % LOOKAHEAD_EVERY == 0:
                lookahead = lookahead or Lookahead(model)
                lookahead.meet(0.95**LOOKAHEAD_EVERY * (step / total) ** 3)
            if step in (total, most_steps):
                if lookahead:
                    lookahead.meet(1.0)
                return model, statistics, time.perf_counter() - started, step * BATCH
    raise AssertionError("the last step returns")


@torch.inference_mode()
def errors(model, statistics, images, labels):
    """Return errors in percent: on the images alone, with mirror images, and also with shifts of one pixel."""
    model.eval()
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - statistics[0]) / statistics[1]

    def logits(x):
        return torch.cat([model(part.contiguous(memory_format=torch.channels_last)) for part in x.split(500)])

    def mirrored(x):
        return (logits(x) + logits(x.flip(3))) / 2

    padded = F.pad(x, (1,) * 4, "reflect")
    mirror = mirrored(x)
    shifts = (mirrored(padded[:, :, :32, :32]) + mirrored(padded[:, :, 2:, 2:])) / 2
    expected = torch.from_numpy(labels).long()
    return [
        100 * float((out.argmax(1) != expected).float().mean()) for out in (logits(x), mirror, (mirror + shifts) / 2)
    ]
