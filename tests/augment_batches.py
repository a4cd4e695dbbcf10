"""Augment a fixed batch under $KERAS_BACKEND, compiled, and write the results: `... OUT.npz`."""

import sys
from functools import lru_cache

import numpy as np
from keras import backend, ops

from cifarzoo.augment.pipeline import build
from cifarzoo.augment.random import Draws
from cifarzoo.augment.spec import PIPELINES

ALL_OPERATIONS = [
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "AutoContrast",
    "Invert",
    "Equalize",
    "Solarize",
    "Posterize",
    "Contrast",
    "Color",
    "Brightness",
    "Sharpness",
    "Cutout",
]
SEED = 12345678901
DESCRIPTIONS = {
    **{name: name for name in PIPELINES},
    "reflect": [{"crop": {"mode": "reflect"}}, {"flip": {"alternating": True}}],
    "jitter": [{"jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}}],
    "policies": [
        {
            "policies": {
                "policies": [[[one, 0.9, 0.83], [two, 0.9, 0.21]] for one in ALL_OPERATIONS for two in ALL_OPERATIONS]
            }
        }
    ],
    "mixup_image": [{"mixup": {"alpha": 0.4, "per": "image", "fold": True}}],
    "cutmix_image": [{"cutmix": {"per": "image", "probability": 1.0}}],
}
FLOATING = ("jitter", "mixup", "mixup_image")


def batch(count=96):
    """Return images with structure, and labels."""
    rng = np.random.default_rng(11)
    coarse = rng.integers(0, 256, (count, 8, 8, 3))
    images = np.clip(coarse.repeat(4, 1).repeat(4, 2) + rng.integers(-20, 20, (count, 32, 32, 3)), 0, 255)
    return images.astype("uint8"), rng.integers(0, 10, count).astype("int32")


@lru_cache
def compiled(name):
    """Return a pipeline compiled as an engine of this backend compiles it."""
    pipeline = build(DESCRIPTIONS.get(name, name), classes=10)

    def run(images, labels, step, index):
        return pipeline(images, labels, Draws(SEED, step, index, epoch=step // 2, image_id=index * 7))

    if backend.backend() == "jax":
        import jax

        return jax.jit(run)
    import tensorflow as tf

    return tf.function(run, autograph=False)


def augment(name, step, positions=None):
    """Return the images and labels of a step, or of some positions in its batch, as NumPy arrays."""
    images, labels = batch()
    positions = np.arange(len(images)) if positions is None else np.asarray(positions)
    results = compiled(name)(
        *(ops.convert_to_tensor(array) for array in (images[positions], labels[positions])),
        ops.convert_to_tensor(step, "int32"),
        ops.convert_to_tensor(positions.astype("int32")),
    )
    return tuple(ops.convert_to_numpy(result) for result in results)


def everything():
    """Return the images and labels of all pipelines at a step."""
    results = {}
    for name in DESCRIPTIONS:
        results[f"{name}_images"], results[f"{name}_labels"] = augment(name, 41)
    return results


if __name__ == "__main__":
    np.savez(sys.argv[1], **everything())
