"""The formats: names, endings, and the packages that writing and checking a file take. No Keras is needed."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cifarzoo.errors import ExportError, printable

if TYPE_CHECKING:
    import keras
    import numpy as np

# Takes float32 pixels [n, height, width, 3], returns the outputs of the network in a file.
Runner = Callable[["np.ndarray"], "np.ndarray"]


class FormatModule(Protocol):
    """What the module of a format provides."""

    def write(
        self, model: "keras.Model", path: Path, facts: dict[str, Any], calibration: "np.ndarray | None" = None
    ) -> None:
        """Write a model and the facts about it to a path that is free.

        Args:
            model: A functional model of one input, in float32.
            path: The file, with the format's ending, or the folder.
            facts: See `metadata.facts_of`. A format may add some of its own.
            calibration: Training images [n, height, width, 3], of which int8 takes the ranges of all activations.
        """

    def runner(self, path: Path) -> Runner:
        """Open what `write` wrote, with the format's own runtime and without Keras."""


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: As `--to` takes it.
        ending: What the name of its file ends with; "" for a folder.
        module: The module of `cifarzoo.exporting` that writes and opens it.
        packages: What has to be installed: name to import -> name for pip.
        backend: The Keras backend on which it is written; None for any.
        quantized: Whether it computes in int8.
    """

    name: str
    ending: str
    module: str
    packages: dict[str, str]
    backend: str | None = "tensorflow"
    quantized: bool = False

    def load(self) -> FormatModule:
        """Import the format's module.

        Raises:
            ExportError: a package that it takes is not installed.
        """
        missing = [package for module, package in self.packages.items() if find_spec(module) is None]
        if missing:
            raise ExportError(
                f"--to {self.name}: needs packages that are not installed: pip install {' '.join(missing)}"
            )
        return importlib.import_module(f"cifarzoo.exporting.{self.module}")


TENSORFLOW = {"tensorflow": "tensorflow"}
LITERT = TENSORFLOW | {"ai_edge_litert": "ai-edge-litert"}
FORMATS = {
    one.name: one
    for one in (
        Format("savedmodel", "", "saved_model", TENSORFLOW),
        Format(
            "onnx",
            ".onnx",
            "onnx_file",
            TENSORFLOW | {"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"},
        ),
        Format("litert", ".tflite", "litert_file", LITERT),
        Format("litert-int8", ".tflite", "litert_file", LITERT, quantized=True),
        Format("openvino", ".xml", "openvino_files", TENSORFLOW | {"openvino": "openvino"}),
        Format("torch", ".pt2", "torch_program", {"torch": "torch"}, backend="torch"),
    )
}


# What `torch` writes if the file is called so.
STATE_DICT = Format("torch", ".pth", "state_dict", {}, backend=None)


def format_named(name: str, file: str = "") -> Format:
    """Return a format; of `torch`, the name of the file says which of the two.

    Raises:
        ExportError: there is none of this name.
    """
    if name not in FORMATS:
        raise ExportError(f"--to {printable(name)}: expected one of {', '.join(FORMATS)}")
    return STATE_DICT if name == STATE_DICT.name and file.endswith(STATE_DICT.ending) else FORMATS[name]
