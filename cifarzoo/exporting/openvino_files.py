"""OpenVINO's intermediate representation: an .xml file and, beside it, a .bin file with the weights."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.exporting.formats import Runner
from cifarzoo.exporting.metadata import as_texts

if TYPE_CHECKING:
    import keras


def write(model: "keras.Model", path: Path, facts: dict[str, Any], calibration: np.ndarray | None = None) -> None:
    """See `formats.FormatModule`. The facts become `rt_info`, and `model_info` has what OpenVINO's Model API reads."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "network.xml"
        model.export(str(first), format="openvino", verbose=False)
        network = openvino.Core().read_model(first)
        for key, value in as_texts(facts).items():
            network.set_rt_info(value, ["cifarzoo", key])
        network.set_rt_info("Classification", ["model_info", "model_type"])
        if facts.get("class_names"):
            labels = " ".join(name.replace(" ", "_") for name in facts["class_names"])
            network.set_rt_info(labels, ["model_info", "labels"])
        openvino.save_model(network, path, compress_to_fp16=False)


def runner(path: Path) -> Runner:
    """See `formats.FormatModule`. Some processors would compute in bfloat16 by themselves."""
    import openvino

    network = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: network(images)[0]
