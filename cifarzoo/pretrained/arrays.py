"""Read the arrays of a weight file by layer name, and put them into a model's layers of the same names.

Keras' own files key layers by class and order, and also hold each layer's name. By name, layers without weights and the
states of random generators play no part.
"""

import dataclasses
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.errors import WeightsError
from cifarzoo.pretrained.hdf5 import child, open_bounded

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
        WeightsError: the file is damaged, is not a Keras weight file, claims more than it can hold, or contains
            anything but finite real numbers.
    """
    with open_bounded(path) as (file, names):
        layers: dict[str, list[np.ndarray]] = {}
        others = {name for name in names if not re.search("/seed_generator/|^/optimizer/", name)}
        _collect(file, "", layers, names, others)
        for name in others:
            _values(file[name], name, names)
        return LayerArrays(layers, tuple(sorted(others)))


def _collect(group: Any, prefix: str, layers: dict[str, list[np.ndarray]], names: set[str], others: set[str]) -> None:
    """Move the arrays of a model's layers, and of the layers of nested models, from `others` to `layers`."""
    parent = group.get("layers")
    for key in parent or ():
        node = child(parent, key)
        variables = child(node, "vars")
        name = None if variables is None else variables.attrs.get("name")
        if name is None:
            continue
        if "layers" in node:
            _collect(node, f"{prefix}{name}/", layers, names, others)
        elif len(variables):
            arrays = [child(variables, str(number)) for number in range(len(variables))]
            layers[f"{prefix}{name}"] = [_values(array, f"layer {prefix}{name}", names) for array in arrays]
            others -= {array.name for array in arrays}


def _values(node: Any, where: str, names: set[str]) -> np.ndarray:
    """Return the numbers of an array in the file.

    Raises:
        WeightsError: the node is not an array of finite real numbers.
    """
    if node is None or node.name not in names:
        raise WeightsError(f"{where} has a variable that is not an array of its own")
    if node.dtype.kind not in "fiu":
        raise WeightsError(f"{where} has {node.dtype!s:.80} weights; expected real numbers")
    values = node[()]
    if not np.isfinite(values).all():
        raise WeightsError(f"{where} has weights that are not finite")
    return values


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

    Possible reasons: layer names, shapes, integers instead of floats, weights that are not finite.

    Args:
        model: The model.
        arrays: The file's arrays.
        without: Paths of layers to skip.
    """
    layers = layers_with_weights(model)
    expected = {
        path: [tuple(weight.shape) for weight in layer.weights] for path, layer in layers.items() if path not in without
    }
    stored = {path: [array.shape for array in arrays.layers[path]] for path in arrays.layers if path not in without}
    if absent := next((path for path in expected if path not in stored), None):
        return f"the file has no layer {absent}"
    if unknown := next((path for path in [*stored, *arrays.others] if path not in expected), None):
        return f"the model has no layer {unknown}"
    for path, shapes in expected.items():
        if stored[path] != shapes:
            return f"layer {path} has shapes {_text(stored[path])} instead of {_text(shapes)}"
        for weight, array in zip(layers[path].weights, arrays.layers[path], strict=True):
            if ("float" in str(weight.dtype)) != _holds_floats(array):
                return f"layer {path} has {array.dtype} weights instead of {weight.dtype}"
            if not np.isfinite(array).all():
                return f"layer {path} has weights that are not finite"
    return None


def _holds_floats(array: np.ndarray) -> bool:
    return "float" in array.dtype.name  # dtype.kind does not tell that bfloat16 is a float


def integers(arrays: LayerArrays) -> str | None:
    """Return the path of a layer whose weights are integers, or None if all weights are floats."""
    return next((path for path, weights in arrays.layers.items() if not all(map(_holds_floats, weights))), None)


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
