"""Compare the speed of judging augmentation policies on a processor: `cifarzoo search`, and Pillow with PyTorch.

    python benchmarks/search.py [--images 400] [--seconds 60] [--rounds 3] [--precision bfloat16]

Both apply sub-policies of two operations to held-out images and run ResNet-20 on them. Each works in a process of its
own, in turns; the fastest round counts.

* cifarzoo: shards of the table, as the command measures them.
* Pillow and PyTorch: as Fast AutoAugment's code does it, a data loader with one process per core that applies the
  operations to one image after another, and batches of 500 in eager mode, in the faster of both memory layouts. Its
  sub-policies are random ones of the whole grid.

The table holds 93 transformations instead of the grid's 136, because the others repeat them. So a table is worth
136^2 / 93^2 = 2.14 times its own images; the last number counts that.

Expected before measuring, on two free cores, from the rates per processor second in docs/performance.md: ResNet-20's
convolutions take 9 of 10 seconds on either side, so that in float32 cifarzoo is 1.5 to 2 times as fast image by image,
and 3 to 4 times per table. The aim of ten times needs bfloat16, twice as fast where the processor has it, and is missed
even then: 6 to 8 times.
"""

import argparse
import multiprocessing
import time

import numpy as np

BATCH = 500
GRID = 12 * 11 + 3 + 1


def images(count):
    """Return synthetic images and labels."""
    from cifarzoo.data import load

    split = load("synthetic").train
    return split.images[:count], split.labels[:count]


def ours(arguments):
    """Return the images per second of the table."""
    import cifarzoo
    from cifarzoo.augment.policy_lists import OPERATIONS
    from cifarzoo.keras_internals.precision import arithmetic
    from cifarzoo.search.held_out import HeldOut
    from cifarzoo.search.scorer import Scorer
    from cifarzoo.search.space import Space

    draws = np.random.default_rng(0).random((arguments.images, 2, 2), np.float32)
    space = Space(OPERATIONS, 11, 32)
    with arithmetic(arguments.precision):
        model = cifarzoo.create_model("cifar_resnet20", block_type="original", shortcut_type="A")
        scorer = Scorer(model, space, HeldOut(*images(arguments.images), draws))
        scorer.scores(0)
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < arguments.seconds:
            scorer.scores(done % len(space))
            done += 1
        return done * len(space) * arguments.images / (time.perf_counter() - started)


class Augmented:
    """Images of random sub-policies, one at a time with Pillow, for a data loader."""

    def __init__(self, count):
        self._images, self._labels = images(count)

    def __len__(self):
        return 1 << 30

    def __getitem__(self, number):
        from PIL import Image

        from cifarzoo.augment.policies import fast_autoaugment_value
        from cifarzoo.augment.policy_lists import OPERATIONS

        random = np.random.default_rng(number)
        image = Image.fromarray(self._images[number % len(self._images)])
        for name, level in zip(random.choice(OPERATIONS, 2), random.integers(11, size=2) / 10, strict=True):
            image = operate(image, name, fast_autoaugment_value(name, level, 32), random)
        return np.array(image), self._labels[number % len(self._images)]


def operate(image, name, value, random):
    """Apply an operation with Pillow."""
    from PIL import Image, ImageDraw, ImageEnhance, ImageOps

    if name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        value = value if random.random() < 0.5 else -value
    if name == "Rotate":
        return image.rotate(value)
    if name in ("Contrast", "Color", "Brightness", "Sharpness"):
        return getattr(ImageEnhance, name)(image).enhance(value)
    if name in ("Solarize", "Posterize"):
        return getattr(ImageOps, name.lower())(image, value)
    if name in ("AutoContrast", "Equalize", "Invert"):
        return getattr(ImageOps, name.lower())(image)
    if name == "Cutout":
        left, top = np.maximum(0, random.uniform(0, 32, 2) - value / 2)
        image = image.copy()
        ImageDraw.Draw(image).rectangle((left, top, min(32, left + value), min(32, top + value)), (125, 123, 114))
        return image
    matrix = {
        "ShearX": (1, value, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, value, 1, 0),
        "TranslateX": (1, 0, value, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, value),
    }[name]
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def pytorch(arguments, layout):
    """Return the images per second of a data loader and a network in PyTorch."""
    import torch
    from torch.nn import functional as F
    from torch_networks import NETWORKS

    layout = getattr(torch, layout)
    model = NETWORKS["resnet20"]().eval().to(memory_format=layout)
    workers = multiprocessing.cpu_count()
    loader = torch.utils.data.DataLoader(Augmented(arguments.images), BATCH, num_workers=workers)
    done, started = -1, 0.0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bfloat16"):
        for pixels, labels in loader:
            x = ((pixels.permute(0, 3, 1, 2).float() - 120) / 64).to(memory_format=layout)
            logits = model(x)
            F.cross_entropy(logits, labels.long(), reduction="none").numpy()
            (logits.argmax(1) == labels).numpy()
            done += 1
            if not done:
                started = time.perf_counter()
            elif time.perf_counter() - started > arguments.seconds:
                break
    return done * BATCH / (time.perf_counter() - started)


CONTESTANTS = {
    "cifarzoo": (ours,),
    "Pillow and PyTorch": (pytorch, "contiguous_format"),
    "Pillow and PyTorch, channels last": (pytorch, "channels_last"),
}


def measure(name, arguments, rates):
    """Put a contestant's images per second into a queue."""
    function, *rest = CONTESTANTS[name]
    rates.put(function(arguments, *rest))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    best = dict.fromkeys(CONTESTANTS, 0.0)
    for _ in range(arguments.rounds):
        for name in CONTESTANTS:
            rates = context.Queue()
            process = context.Process(target=measure, args=(name, arguments, rates))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{name}: failed")
            best[name] = max(best[name], rates.get())
    theirs = max(rate for name, rate in best.items() if name != "cifarzoo")
    for name, rate in best.items():
        print(f"{name:36} {rate:8,.0f} images/s")
    ratio = best["cifarzoo"] / theirs
    print(f"cifarzoo: {ratio:.2f} times the images per second, {ratio * (GRID / 93) ** 2:.2f} times per table")


if __name__ == "__main__":
    main()
