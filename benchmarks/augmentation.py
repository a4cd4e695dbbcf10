"""Measure images per second of every augmentation, inside a compiled function, against the alternatives.

    python benchmarks/augmentation.py [--batch 128] [--seconds 2] [--names autoaugment ...] [--data FOLDER]

The alternatives: Keras' RandAugment layer in a `tf.function`; the same policies one image at a time with Pillow, like
the papers' code, in one process per core; and, where installed, the transforms of torchvision and timm in the same way.
"policies" is the list in recipes/policies/autoaugment_cifar10.yaml. The contestants run their rounds in turns, so that
other load on the machine affects them alike; compare ratios within one run, not numbers of two runs.

Expected before measuring, on two cores: standard augmentation at least 10 times as fast as with Pillow; policies a few
times as fast, because the kernels process the whole batch, while Pillow runs only the one or two operations that each
image drew.
"""

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

POLICIES = Path(__file__).parent.parent / "recipes" / "policies" / "autoaugment_cifar10.yaml"

PILLOW = {
    "cutout": (),
    "autoaugment": ("AutoAugment", {}),
    "randaugment": ("RandAugment", {}),
    "trivialaugment": ("TrivialAugment", {}),
}


def real_or_drawn_images(count, folder):
    """Return CIFAR-10's first training images and labels, or synthetic ones without a folder."""
    from cifarzoo.data import load

    split = load("cifar10", folder).train if folder else load("synthetic").train
    return split.images[:count], split.labels[:count].astype("int32")


def ours(name, images, labels):
    """Return a function that runs a pipeline like the TensorFlow engine: one batch per call."""
    import tensorflow as tf

    from cifarzoo.augment.pipeline import build
    from cifarzoo.augment.policy_lists import read_policies
    from cifarzoo.augment.random import Draws

    lists = {"policies": [{"policies": {"policies": read_policies(POLICIES)}}, "crop", "flip", "cutout"]}
    pipeline = build(lists.get(name, name))
    batch = tf.constant(images), tf.constant(labels), tf.range(len(images))
    run = tf.function(lambda x, y, index, step: pipeline(x, y, Draws(0, step, index)), autograph=False)
    step = iter(range(1 << 30))
    return lambda: run(*batch, tf.constant(next(step)))[0].numpy()


def keras_randaugment(images):
    """Return a function that runs Keras' own layer, which draws one sequence of operations for the whole batch."""
    import keras
    import tensorflow as tf

    layer = keras.layers.RandAugment(value_range=(0, 255), num_ops=3, factor=0.5)
    batch = tf.constant(images)
    run = tf.function(lambda x: layer(x, training=True), autograph=False)
    return lambda: run(batch).numpy()


def with_pillow(name, images):
    """Return a function that applies a policy, crop, flip and Cutout one image at a time with Pillow and NumPy."""
    from PIL import Image, ImageEnhance, ImageOps

    from cifarzoo.augment import spec
    from cifarzoo.augment.policies import operations

    class_name, parameters = PILLOW[name] or (None, None)
    policy = getattr(spec, class_name)(**parameters) if class_name else None
    choices = [operations(policy, slot, 32) for slot in range(policy.slots)] if policy else []
    random = np.random.default_rng(0)

    def operate(image, name, value):
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
        matrix = {
            "ShearX": (1, value, 0, 0, 1, 0),
            "ShearY": (1, 0, 0, value, 1, 0),
            "TranslateX": (1, 0, value, 0, 1, 0),
            "TranslateY": (1, 0, 0, 0, 1, value),
            "Identity": (1, 0, 0, 0, 1, 0),
        }[name]
        return image.transform(image.size, Image.Transform.AFFINE, matrix)

    def one(array):
        image = Image.fromarray(array)
        index = random.integers(len(choices[0])) if choices else 0
        for slot in choices:
            operation, chance, value = slot[random.integers(len(slot)) if policy.independent_slots else index]
            if random.random() < chance:
                image = operate(image, operation, value)
        top, left = random.integers(9, size=2)
        image = ImageOps.expand(image, 4).crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        result = np.array(image)
        y, x = random.integers(32, size=2)
        result[max(0, y - 8) : y + 8, max(0, x - 8) : x + 8] = (125, 123, 114)
        return result

    return lambda: np.stack([one(array) for array in images])


def with_torchvision(name, images):
    """Return a function that runs torchvision's transforms on PIL images as a data loader does, without Cutout."""
    import torch
    from PIL import Image
    from torchvision import transforms

    policy = {
        "cutout": [],
        "autoaugment": [transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)],
        "randaugment": [transforms.RandAugment(3, 5, 11)],
        "trivialaugment": [transforms.TrivialAugmentWide()],
    }[name]
    rest = [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    run = transforms.Compose([*policy, *rest])
    return lambda: torch.stack([run(Image.fromarray(array)) for array in images]).numpy()


def with_timm(name, images):
    """Return a function that runs timm's AutoAugment or RandAugment on PIL images, without crop and flip."""
    from PIL import Image
    from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

    settings = {"img_mean": (125, 123, 114)}
    policy = (
        auto_augment_transform("original", settings)
        if name == "autoaugment"
        else rand_augment_transform("rand-m5-n3", settings)
    )
    return lambda: np.stack([np.asarray(policy(Image.fromarray(array))) for array in images])


def _work(maker, name, images, seconds, results):
    run = maker(name, images)
    run()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        run()
        done += len(images)
    results.put(done / (time.perf_counter() - started))


def rate_of_processes(maker, name, images, seconds, processes):
    """Return the total images per second of several processes at once, without transport between them."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_work, args=(maker, name, images, seconds, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    rates = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return sum(rates)


def rate(run: Callable, batch: int, seconds: float) -> float:
    """Return the images per second of a function that augments one batch."""
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        run()
        done += batch
    return done / (time.perf_counter() - started)


def main():
    """Measure all contestants and print their rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds per contestant and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--names", nargs="*", help="pipelines to measure; by default all, and a policy list")
    parser.add_argument("--data", help="folder with CIFAR-10; by default synthetic images are used")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="for Pillow, torchvision and timm")
    arguments = parser.parse_args()

    from cifarzoo.augment.spec import PIPELINES

    images, labels = real_or_drawn_images(arguments.batch, arguments.data)
    names = arguments.names or [*(name for name in PIPELINES if name != "none"), "policies"]
    compiled = {name: ours(name, images, labels) for name in names}
    compiled["Keras RandAugment"] = keras_randaugment(images)
    others = {("Pillow", name): with_pillow for name in names if name in PILLOW}
    if importlib.util.find_spec("torchvision"):
        others |= {("torchvision", name): with_torchvision for name in names if name in PILLOW}
    if importlib.util.find_spec("timm"):
        others |= {("timm", name): with_timm for name in names if name in ("autoaugment", "randaugment")}

    for run in compiled.values():
        run()
    rates = {key: [] for key in (*compiled, *others)}
    for _ in range(arguments.rounds):
        for key, run in compiled.items():
            rates[key].append(rate(run, arguments.batch, arguments.seconds))
        for key, maker in others.items():
            measured = rate_of_processes(maker, key[1], images, arguments.seconds, arguments.processes)
            rates[key].append(measured)
    rates = {key: statistics.median(values) for key, values in rates.items()}

    print(f"images/s, batch {arguments.batch}, {os.cpu_count()} cores, median of {arguments.rounds} rounds")
    libraries = sorted({library for library, _ in others})
    print(f"{'pipeline':<18}{'cifarzoo':>12}" + "".join(f"{library:>14}{'ratio':>8}" for library in libraries))
    for name in names:
        line = f"{name:<18}{rates[name]:>12,.0f}"
        for library in libraries:
            other = rates.get((library, name))
            line += f"{other:>14,.0f}{rates[name] / other:>8.1f}" if other else f"{'':>22}"
        print(line)
    layer = rates["Keras RandAugment"]
    print(
        f"{'Keras RandAugment':<18}{layer:>12,.0f}"
        + "".join(f"; {name} is {rates[name] / layer:.1f} times as fast" for name in names if name == "randaugment")
    )


if __name__ == "__main__":
    main()
