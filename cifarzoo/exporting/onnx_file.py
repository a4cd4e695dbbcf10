"""ONNX: one file that ONNX Runtime and many others read."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.exporting.formats import Runner
from cifarzoo.exporting.metadata import as_texts
from cifarzoo.exporting.plain_layers import with_plain_layers
from cifarzoo.keras_internals.model_graph import mark_as_called

if TYPE_CHECKING:
    import keras

BATCH = "batch"


def write(model: "keras.Model", path: Path, facts: dict[str, Any], calibration: np.ndarray | None = None) -> None:
    """See `formats.FormatModule`. The facts become `metadata_props`; the first axis of input and output is "batch"."""
    import onnx

    model = with_plain_layers(model)
    mark_as_called(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)  # Keras asks NumPy for it
        model.export(path, format="onnx", verbose=False)
    network = onnx.load(path)
    for value in (*network.graph.input, *network.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    onnx.helper.set_model_props(network, as_texts(facts))
    onnx.checker.check_model(network)
    onnx.save(network, path)


def runner(path: Path) -> Runner:
    """See `formats.FormatModule`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    return lambda images: session.run(None, {image.name: images})[0]
