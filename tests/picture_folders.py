"""Folders of small pictures for tests."""

from pathlib import Path

import numpy as np

CLASSES = ("cat", "dog", "owl")


def pixels(label, number, height=20, width=20):
    """A noisy picture in which one channel is bright: the class."""
    random = np.random.default_rng([label, number])
    image = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
    image[..., label % 3] += 120
    return image


def save(path, image, **options):
    """Write an array as a picture; Pillow takes the format from the suffix."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def fill(root, counts=12, classes=CLASSES, height=20, width=20, suffix=".png"):
    """Write `counts` pictures into a folder per class, and return the folder."""
    for label, name in enumerate(classes):
        for number in range(counts):
            save(Path(root, name, f"{number:03}{suffix}"), pixels(label, number, height, width))
    return Path(root)
