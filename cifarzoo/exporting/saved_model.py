"""TensorFlow's SavedModel: a folder for TensorFlow Serving, TensorFlow.js and TensorFlow's other languages."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.exporting.formats import Runner
from cifarzoo.exporting.metadata import as_files

if TYPE_CHECKING:
    import keras

# TensorFlow's own place for files that the graph does not read.
EXTRA = "assets.extra"


def write(model: "keras.Model", path: Path, facts: dict[str, Any], calibration: np.ndarray | None = None) -> None:
    """See `formats.FormatModule`. The facts become files in `assets.extra`."""
    model.export(path, format="tf_saved_model", verbose=False)
    (path / EXTRA).mkdir()
    for name, text in as_files(facts).items():
        (path / EXTRA / name).write_text(text, encoding="utf-8")


def runner(path: Path) -> Runner:
    """See `formats.FormatModule`."""
    import tensorflow as tf

    network = tf.saved_model.load(str(path))
    return lambda images: network.serve(images).numpy()
