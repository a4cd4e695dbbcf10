"""Draw a gallery of an augmentation: originals on the left, what training would see on the right."""

from pathlib import Path

import numpy as np
from keras import ops

from cifarzoo.augment.pipeline import build
from cifarzoo.augment.random import Draws
from cifarzoo.errors import CifarzooError

SCALE, GAP, MARGIN = 3, 2, 10
MAX_PIXELS = 64_000_000


def draw_gallery(
    augmentation: str | list,
    images: np.ndarray,
    labels: np.ndarray,
    path: str | Path,
    columns: int = 10,
    seed: int = 0,
    classes: int | None = None,
    fill: tuple[int, int, int] | None = None,
) -> Path:
    """Write a PNG with one row per image: the image, then the result of `columns` consecutive training steps.

    The images form one batch: MixUp and CutMix mix them with each other.

    Args:
        augmentation: A name or a list, as in an experiment.
        images: uint8 [batch, height, width, 3].
        labels: int [batch].
        path: The PNG file to write; folders are created.
        columns: Number of steps.
        seed: The experiment's seed.
        classes: Number of classes; by default as many as the labels need, at least 10.
        fill: Mean colour of the data set (0-255); by default CIFAR-10's.

    Returns:
        The path.

    Raises:
        ExperimentError: the augmentation is wrong.
        CifarzooError: Pillow is missing, or the picture would be empty or too large, or cannot be written.
    """
    try:
        from PIL import Image
    except ImportError:
        raise CifarzooError("drawing a gallery needs Pillow: pip install pillow") from None
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not len(images) or columns < 1:
        raise CifarzooError(
            f"a gallery needs uint8 images [batch, height, width, 3] and at least 1 column, "
            f"got {images.dtype} {list(images.shape)} and columns={columns}"
        )
    count, height, width, _ = images.shape
    size = (count * (height * SCALE + GAP) + GAP, (columns + 1) * (width * SCALE + GAP) + MARGIN + GAP)
    if size[0] * size[1] > MAX_PIXELS:
        raise CifarzooError(f"a gallery of {count} images in {columns} columns is too large; take fewer")
    pipeline = build(augmentation, classes or max(10, int(labels.max()) + 1), fill)
    canvas = np.full((*size, 3), 255, "uint8")
    for column, batch in enumerate([images, *_steps(pipeline, images, labels, columns, seed)]):
        left = GAP + column * (width * SCALE + GAP) + (MARGIN if column else 0)
        for row, image in enumerate(np.clip(np.rint(batch), 0, 255).astype("uint8")):
            top = GAP + row * (height * SCALE + GAP)
            canvas[top : top + height * SCALE, left : left + width * SCALE] = image.repeat(SCALE, 0).repeat(SCALE, 1)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(canvas).save(path, format="PNG")
    except OSError as error:
        raise CifarzooError(f"{path}: cannot write the gallery: {error.strerror or error}") from None
    return path


def _steps(pipeline, images, labels, steps, seed):
    """Yield the augmented batch of each step; each step is an epoch, so that alternating flips show."""
    indices = np.arange(len(images), dtype="int32")
    for step in range(steps):
        draws = Draws(seed, step, indices, epoch=step, image_id=indices)
        changed, _ = pipeline(ops.convert_to_tensor(images), ops.convert_to_tensor(labels, "int32"), draws)
        yield ops.convert_to_numpy(changed)
