"""Read the arrays of a weight file by layer name, and put them into a model's layers of the same names.

Keras' own files key layers by class and order, and also hold each layer's name. By name, layers without weights and the
states of random generators play no part.
"""

import dataclasses
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from cifarzoo.errors import WeightsError, summarize

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class LayerArrays:
    """The arrays of a weight file.

    Attributes:
        layers: Arrays by the layer's path: its name, after those of the models that contain it, joined by "/".
        others: Names in the file of arrays that belong to no such layer: of layers inside layers, as a user's own
            model may have them.
    """

    layers: dict[str, list[np.ndarray]]
    others: tuple[str, ...] = ()


def read_arrays(path: Path) -> LayerArrays:
    """Read a `.weights.h5` file.

    Raises:
        WeightsError: the file is damaged, or is no Keras weight file.
    """
    layers: dict[str, list[np.ndarray]] = {}
    names: set[str] = set()

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and "/seed_generator/" not in f"/{name}":
            names.add(f"/{name}")

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
            _collect(file, "", layers, names)
    except (OSError, KeyError, ValueError, RuntimeError) as failure:
        raise WeightsError(f"{path}: not a Keras weight file, or damaged ({summarize(failure)})") from None
    return LayerArrays(layers, tuple(sorted(names)))


def _collect(group: Any, prefix: str, layers: dict[str, list[np.ndarray]], names: set[str]) -> None:
    """Move the arrays of a model's layers, and of the models among them, to `layers`; take them out of `names`."""
    for node in group.get("layers", {}).values():
        variables = node.get("vars")
        name = None if variables is None else variables.attrs.get("name")
        if name is None:
            continue
        if "layers" in node:
            _collect(node, f"{prefix}{name}/", layers, names)
        elif len(variables):
            layers[f"{prefix}{name}"] = [variables[str(i)][()] for i in range(len(variables))]
            names -= {f"{variables.name}/{i}" for i in range(len(variables))}


def model_arrays(model: "keras.Model") -> LayerArrays:
    """Return the arrays of a Keras model in memory."""
    return LayerArrays({path: layer.get_weights() for path, layer in layers_with_weights(model).items()})


def layers_with_weights(model: "keras.Model") -> "dict[str, keras.Layer]":
    """Return the layers that have weights, by path, including those of the models among the model's layers."""
    import keras

    found, seen = {}, set()

    def collect(model: "keras.Model", prefix: str) -> None:
        for layer in model.layers:
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if isinstance(layer, keras.Model):
                collect(layer, f"{prefix}{layer.name}/")
            elif layer.weights:
                found[prefix + layer.name] = layer

    collect(model, "")
    return found


def mismatch(model: "keras.Model", arrays: LayerArrays, without: Collection[str] = ()) -> str | None:
    """Return why a file's arrays do not fit a model, or None if they do.

    The reasons are layer names, shapes, and weights that are not finite.

    Args:
        model: The model.
        arrays: The file's arrays.
        without: Paths of layers that are not compared.
    """
    expected = {
        path: [tuple(weight.shape) for weight in layer.weights]
        for path, layer in layers_with_weights(model).items()
        if path not in without
    }
    stored = {path: [array.shape for array in arrays.layers[path]] for path in arrays.layers if path not in without}
    if absent := next((path for path in expected if path not in stored), None):
        return f"the file has no layer {absent}"
    if unknown := next((path for path in [*stored, *arrays.others] if path not in expected), None):
        return f"the model has no layer {unknown}"
    for path, shapes in expected.items():
        if stored[path] != shapes:
            return f"layer {path} has shapes {_text(stored[path])} instead of {_text(shapes)}"
        if not all(np.isfinite(array).all() for array in arrays.layers[path]):
            return f"layer {path} has weights that are not finite"
    return None


def _text(shapes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def assign(model: "keras.Model", arrays: LayerArrays, without: Collection[str] = ()) -> None:
    """Copy the file's arrays into the model's layers; call `mismatch` first.

    Args:
        model: The model.
        arrays: The file's arrays.
        without: Paths of layers that keep their weights.
    """
    for path, layer in layers_with_weights(model).items():
        if path not in without:
            for weight, array in zip(layer.weights, arrays.layers[path], strict=True):
                weight.assign(array)
