"""LiteRT, formerly TensorFlow Lite: one file for phones and microcontrollers, in float32 or int8."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.exporting.formats import Runner
from cifarzoo.exporting.metadata import as_files

if TYPE_CHECKING:
    import keras


def write(model: "keras.Model", path: Path, facts: dict[str, Any], calibration: np.ndarray | None = None) -> None:
    """See `formats.FormatModule`. The facts are files in a zip at the end, where Android's libraries look for labels.

    With `calibration`, weights and activations are int8 (https://arxiv.org/abs/1712.05877), with a scale per filter and
    per feature map. Input and output stay float32.
    """
    import tensorflow as tf

    settings: dict[str, Any] = {}
    if calibration is not None:
        pixels = calibration.astype(np.float32)
        settings["optimizations"] = [tf.lite.Optimize.DEFAULT]
        settings["representative_dataset"] = lambda: ([image[None]] for image in pixels)
    # Without TensorFlow's operations, for which a phone needs a second library.
    target = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path, format="litert", verbose=False, target_spec=target, **settings)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for name, text in as_files(facts).items():
            archive.writestr(zipfile.ZipInfo(name), text)  # without today's date: equal weights give equal files


def runner(path: Path) -> Runner:
    """See `formats.FormatModule`."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    (image,), (output,) = run.get_input_details(), run.get_output_details()
    return lambda images: run(**{image: images})[output]
