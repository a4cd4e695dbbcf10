"""Draw one strip of augmented training images per augmentation, as lossless WebP files of the images' own pixels."""

from pathlib import Path

import numpy as np

GAP = 2  # transparent pixels between images
STEPS = 2  # rows: the images in consecutive steps


def strip(rows: list[np.ndarray], path: Path) -> None:
    """Write rows of images [n, height, width, 3] with transparent gaps."""
    from PIL import Image

    height, width = rows[0].shape[1:3]
    shape = (len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 4)
    pixels = np.zeros(shape, "uint8")
    for row, images in enumerate(rows):
        for column, image in enumerate(np.clip(np.rint(images), 0, 255).astype("uint8")):
            top, left = row * (height + GAP), column * (width + GAP)
            pixels[top : top + height, left : left + width, :3] = image
            pixels[top : top + height, left : left + width, 3] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, lossless=True)


def augmented(augmentation: str | list, images: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Return the images after an augmentation in the first steps of training with seed 0."""
    from keras import ops

    from cifarzoo.augment.pipeline import build
    from cifarzoo.augment.random import Draws

    pipeline, indices = build(augmentation, classes=10), np.arange(len(images), dtype="int32")
    batches = []
    for step in range(STEPS):
        draws = Draws(0, step, indices, epoch=step, image_id=indices)
        changed, _ = pipeline(ops.convert_to_tensor(images), ops.convert_to_tensor(labels, "int32"), draws)
        batches.append(ops.convert_to_numpy(changed))
    return batches
