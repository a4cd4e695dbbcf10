"""Try Keras' image layers as augmentations: do they run inside a compiled step, and repeat what they drew?

    python benchmarks/keras_layers.py
    KERAS_BACKEND=jax python benchmarks/keras_layers.py

Each layer stands between a crop and a flip. The columns say whether a compiled step gives the same images again for the
same step (`repeats`), others for another step (`varies`), what a fresh pipeline gives in the same step (`fresh`, the
largest difference), and the seconds to compile and run it. JAX takes a minute each for RandAugment and Equalization.
"""

import time

import keras
import numpy as np
from keras import ops

from cifarzoo.augment.pipeline import build
from cifarzoo.augment.random import Draws
from cifarzoo.data import load
from cifarzoo.errors import CifarzooError

IMAGES = 16
LAYERS = [
    {"keras": "AugMix"},
    {"keras": "AutoContrast"},
    {"keras": "CenterCrop", "height": 32, "width": 32},
    {"keras": "ContrastLimitedAdaptiveHistogramEqualization"},
    {"keras": "Equalization"},
    {"keras": "RandAugment"},
    {"keras": "RandomBrightness", "factor": 0.2},
    {"keras": "RandomColorDegeneration", "factor": 0.5},
    {"keras": "RandomColorJitter", "brightness_factor": 0.2, "hue_factor": 0.1},
    {"keras": "RandomContrast", "factor": 0.2},
    {"keras": "RandomCrop", "height": 32, "width": 32},
    {"keras": "RandomElasticTransform", "factor": 1.0},
    {"keras": "RandomErasing", "factor": 1.0},
    {"keras": "RandomFlip"},
    {"keras": "RandomGaussianBlur", "factor": 1.0},
    {"keras": "RandomGrayscale", "factor": 0.5},
    {"keras": "RandomHue", "factor": 0.2},
    {"keras": "RandomInvert", "factor": 0.5},
    {"keras": "RandomPerspective", "factor": 1.0},
    {"keras": "RandomPosterization", "factor": 4},
    {"keras": "RandomRotation", "factor": 0.1},
    {"keras": "RandomSaturation", "factor": 0.2},
    {"keras": "RandomSharpness", "factor": 0.5},
    {"keras": "RandomShear", "x_factor": 0.2, "y_factor": 0.2},
    {"keras": "RandomTranslation", "height_factor": 0.1, "width_factor": 0.1},
    {"keras": "RandomZoom", "height_factor": 0.2},
    {"keras": "Rescaling", "scale": 0.5},
    {"keras": "Resizing", "height": 32, "width": 32},
    {"keras": "Solarization"},
]


def compiled(entry):
    """Return a compiled function from a step's number to its images."""
    pipeline, split = build(["crop", entry, "flip"]), load("synthetic").train.take(slice(IMAGES))
    positions = np.arange(IMAGES, dtype="int32")

    def step(number):
        images, labels = ops.convert_to_tensor(split.images), ops.convert_to_tensor(split.labels)
        return pipeline(images, labels, Draws(7, number, positions, 0, positions))[0]

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(step)
    import tensorflow as tf

    return tf.function(step, autograph=False)


def main():
    """Print a row per layer."""
    print(f"{'layer on ' + keras.backend.backend():50}{'repeats':>9}{'varies':>8}{'fresh':>8}{'seconds':>9}")
    for entry in LAYERS:
        started = time.perf_counter()
        try:
            function = compiled(entry)
            first, other, again = (np.asarray(function(ops.convert_to_tensor(n, "int32"))) for n in (0, 1, 0))
            fresh = np.abs(np.asarray(compiled(entry)(ops.convert_to_tensor(0, "int32"))) - first).max()
        except CifarzooError as failure:
            print(f"{entry['keras']:50}{failure}")
            continue
        repeats, varies = (first == again).all(), (first != other).any()
        seconds = time.perf_counter() - started
        print(f"{entry['keras']:50}{repeats!s:>9}{varies!s:>8}{fresh:8.2g}{seconds:9.1f}")


if __name__ == "__main__":
    main()
