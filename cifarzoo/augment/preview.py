"""Draw a gallery of an augmentation with captions: originals on the left, augmented training images on the right."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from cifarzoo.augment.pipeline import Pipeline, build
from cifarzoo.augment.policies import drawn_operations
from cifarzoo.augment.random import Draws
from cifarzoo.augment.spec import Policy
from cifarzoo.errors import CifarzooError

# In pixels: size of an image's pixel, gap between images, gap after the originals, header, line of a caption.
SCALE, GAP, MARGIN, HEADER, LINE = 3, 6, 14, 22, 13
FONT_SIZE = 10
INK, QUIET = (28, 30, 33), (92, 96, 104)
# Operations without a meaningful value.
WITHOUT_VALUE = {"Identity", "AutoContrast", "Equalize", "Invert", "Flip"}
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
    class_names: Sequence[str] = (),
) -> Path:
    """Write a PNG with one row per image: the image, then the result of `columns` consecutive training steps.

    The caption below each image has its class (or the share of each class, if labels are mixed) and the operations that
    a policy applied. The images form one batch: MixUp and CutMix mix them with each other.

    Args:
        augmentation: A name or a list, as in an experiment.
        images: uint8 [batch, height, width, 3].
        labels: int [batch].
        path: The PNG file to write; folders are created.
        columns: Number of steps.
        seed: The experiment's seed.
        classes: Number of classes; by default as many as the labels need, at least 10.
        fill: Mean color of the data set (0-255); by default CIFAR-10's.
        class_names: Names of the classes; by default their numbers.

    Returns:
        The path.

    Raises:
        ExperimentError: the augmentation is wrong.
        CifarzooError: Pillow is missing, or the picture would be empty or too large, or cannot be written.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise CifarzooError("drawing a gallery needs Pillow: pip install pillow") from None
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not len(images) or columns < 1:
        raise CifarzooError(
            f"a gallery needs uint8 images [batch, height, width, 3] and at least 1 column, "
            f"got {images.dtype} {list(images.shape)} and columns={columns}"
        )
    count, height, width, _ = images.shape
    if (columns + 1) * width * count * height * SCALE**2 > MAX_PIXELS:
        raise CifarzooError(f"a gallery of {count} images in {columns} columns is too large; take fewer")
    pipeline = build(augmentation, classes or max(10, int(labels.max()) + 1), fill)
    names = class_names or [f"class {label}" for label in range(pipeline.dataset.classes)]
    batches = [images]
    captions = [[[names[label]] for label in labels]]
    for batch, lines in _steps(pipeline, images, labels, columns, seed, names):
        batches.append(batch)
        captions.append(lines)
    lines_per_image = max(len(lines) for column in captions for lines in column)
    cell = width * SCALE + GAP, height * SCALE + lines_per_image * LINE + GAP
    picture = Image.new("RGB", ((columns + 1) * cell[0] + MARGIN + GAP, HEADER + count * cell[1] + GAP), "white")
    write = ImageDraw.Draw(picture)
    font = ImageFont.load_default(FONT_SIZE)
    for column, (batch, lines) in enumerate(zip(batches, captions, strict=True)):
        left = GAP + column * cell[0] + (MARGIN if column else 0)
        write.text((left, GAP), f"step {column}" if column else "original", INK, font)
        for row, image in enumerate(np.clip(np.rint(batch), 0, 255).astype("uint8")):
            top = HEADER + row * cell[1]
            picture.paste(Image.fromarray(image.repeat(SCALE, 0).repeat(SCALE, 1)), (left, top))
            for number, line in enumerate(lines[row]):
                write.text((left, top + height * SCALE + number * LINE), line, QUIET, font)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, format="PNG")
    except OSError as error:
        raise CifarzooError(f"{path}: cannot write the gallery: {error.strerror or error}") from None
    return path


def _steps(
    pipeline: Pipeline, images: np.ndarray, labels: np.ndarray, steps: int, seed: int, names: Sequence[str]
) -> Iterator[tuple[np.ndarray, list[list[str]]]]:
    """Yield the augmented batch of each step and the caption of each of its images.

    Each step is an epoch, so that alternating flips show.
    """
    indices = np.arange(len(images), dtype="int32")
    for step in range(steps):
        draws = Draws(seed, step, indices, epoch=step, image_id=indices)
        changed, mixed = pipeline(ops.convert_to_tensor(images), ops.convert_to_tensor(labels, "int32"), draws)
        captions = _captions(pipeline, draws, images.shape[2], ops.convert_to_numpy(mixed), names)
        yield ops.convert_to_numpy(changed), captions


def _captions(
    pipeline: Pipeline, draws: Draws, width: int, labels: np.ndarray, names: Sequence[str]
) -> list[list[str]]:
    captions: list[list[str]] = [[] for _ in labels]
    streams = draws.streams([(spec.draws_per_image, spec.draws_per_batch) for spec in pipeline.specs])
    for spec, stream in zip(pipeline.specs, streams, strict=True):
        if isinstance(spec, Policy):
            for caption, operations in zip(captions, drawn_operations(spec, stream, width), strict=True):
                caption += [_operation(*operation) for operation in operations]
    if labels.ndim == 2:  # MixUp and CutMix replace each class with a row of shares
        for caption, shares in zip(captions, labels, strict=True):
            for label in np.argsort(-shares, kind="stable"):
                if shares[label] >= 0.005:
                    caption.append(f"{names[label]} {100 * shares[label]:.0f} %")
    return captions


def _operation(name: str, value: Any) -> str:
    return name if name in WITHOUT_VALUE else f"{name} {value:.3g}"
