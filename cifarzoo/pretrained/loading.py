"""Load weights into models: published ones, and files by path.

Weights are matched by layer name and shape, not in Keras' way by layer class and order: a file that was trained with
dropout fits the network without, and the file of another network does not load by accident.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cifarzoo.data.statistics import same_statistics, statistics_from, text_of
from cifarzoo.errors import ModelError, WeightsError, summarize
from cifarzoo.pretrained.arrays import (
    LayerArrays,
    assign,
    integers,
    layers_with_weights,
    mismatch,
    model_arrays,
    read_arrays,
)
from cifarzoo.pretrained.description import Build, Description, attach_training_data, description_of, read_description
from cifarzoo.pretrained.keras_files import image_size_of, open_keras_file, same_constants, same_outputs
from cifarzoo.pretrained.selection import Source, source_named

if TYPE_CHECKING:
    import keras

logger = logging.getLogger("cifarzoo")

CLASSIFIER = "logits"
TOP = (CLASSIFIER, "hidden1", "hidden2")


def load_file(model: "keras.Model", path: str | os.PathLike) -> None:
    """Load a weight file into a model of the same architecture and with the same head.

    Args:
        model: A Keras model. One that a factory built takes the weights of the same network only; for a model of your
            own, shapes decide, and layers are matched by name, or by class and order if their names differ.
        path: A `.weights.h5` file.

    Raises:
        WeightsError: the file does not exist, is damaged or of another kind, or was made for another model (the message
            says what it contains). The model does not change.
    """
    path = Path(path)
    expected = description_of(model)
    description = read_description(path)
    if description is None:
        logger.warning("%s: does not say what it contains; only layer names and shapes are compared", path)
    elif expected is not None:
        _check(path, description, expected)
        if description.factory and expected.factory and description.classes != expected.classes:
            raise WeightsError(f"{path}: contains {description}, not {expected}")
    arrays = read_arrays(path)
    if (expected is None or expected.factory is None) and mismatch(model, arrays):
        if (layer := integers(arrays)) and all("float" in str(weight.dtype) for weight in model.weights):
            raise WeightsError(f"{path}: does not fit {model.name}: layer {layer} holds integers")
        _load_in_order(model, path)
        return
    fill(model, path, arrays)


def load_pretrained(source: Source, build: "Callable[..., keras.Model]") -> "keras.Model":
    """Build a factory's model and load weights into it, as its argument `load_weights` asks.

    Args:
        source: The weight file.
        build: Function that builds the model; takes the `statistics` to normalize with unless the call has its own.

    Returns:
        The model. If the file's number of classes differs, or the model has no top, only the backbone is loaded; else
        its description says what the weights were trained on.

    Raises:
        WeightsError: the weights are damaged, or belong to another network.
    """
    statistics = source.description and source.description.statistics
    try:
        statistics = statistics and statistics_from(statistics)
    except ModelError as failure:
        raise WeightsError(f"{source.origin}: {failure}") from None
    model = build(statistics=statistics)
    _fill_from(model, source)
    attach_training_data(model, source.description)
    return model


def initialize(model: "keras.Model", name: str | os.PathLike, build: Build) -> None:
    """Load weights to start training from; if the file's number of classes differs, the classifier stays fresh.

    If the model normalizes its input with the statistics of another data set than the file, or takes images of another
    size, log a warning.

    Args:
        model: A Keras model. If a factory built it, it takes only weights of the same network.
        name: A tag, the name of another project's checkpoint, or the path of a `.weights.h5` or `.keras` file.
        build: See `source_named`.

    Raises:
        WeightsError: the weights do not exist, are damaged, or belong to another network.
    """
    _fill_from(model, source_named(name, build), any_images=True)


def _fill_from(model: "keras.Model", source: Source, any_images: bool = False) -> None:
    """Compare a model with a file, then load the whole file or its backbone."""
    path, description, expected = source.path, source.description, description_of(model)
    if path.name.endswith(".keras"):
        _fill_from_keras_file(model, path, any_images)
        return
    if description is None:
        logger.warning("%s: does not say what it contains; only layer names and shapes are compared", path)
    elif expected is not None:
        if any_images:
            expected = _for_images_of(description, expected, model.name)
        _check(source.origin, description, expected)
    arrays = read_arrays(path)
    if (expected is None or expected.factory is None) and not _same_names(model, arrays):
        _load_in_order(model, path)
        return
    _fill_backbone_or_all(model, source.origin, path, arrays)


def _for_images_of(trained: Description, expected: Description, name: str) -> Description:
    """Return the expected description with the images of another one; warn if they differ."""
    here, there = expected.statistics, trained.statistics
    if here is not None and there is not None:
        if not same_statistics(here, there):
            message = "%s: input normalized by %s; the weights were trained with %s"
            logger.warning(message, name, text_of(here), text_of(there))
        expected = replace(expected, statistics=there)
    if expected.factory and trained.factory and trained.image_size != expected.image_size:
        message = "%s: images of height and width %s; the weights were trained with %s"
        logger.warning(message, name, expected.image_size, trained.image_size)
        expected = replace(expected, arguments=expected.arguments | {"image_size": trained.image_size})
    return expected


def _check(origin: str | Path, description: Description, expected: Description) -> None:
    """Raise WeightsError unless the file has the expected backbone, and outputs of the same meaning."""
    contents = f"{origin}: contains {description}"
    # Of a user's own networks only names and shapes are known, which are compared later.
    is_named = description.factory or description.function
    if is_named and expected.factory and description.identity != expected.identity:
        raise WeightsError(f"{contents}, not {expected}")
    if expected.statistics is not None and not same_statistics(description.statistics, expected.statistics):
        text = description.statistics and text_of(description.statistics)
        normalized = f"input normalized by {text}" if text else "no normalization"
        raise WeightsError(
            f"{contents} with {normalized}; asked for input normalized by {text_of(expected.statistics)}"
        )
    # Weights of logits also serve a model with an activation after them; not the other way round.
    if description.activation not in (None, expected.activation):
        raise WeightsError(
            f"{contents}, whose outputs are not logits; asked for {expected}: pass "
            f"classifier_activation={description.activation!r}"
        )


def fill(model: "keras.Model", path: str | os.PathLike, arrays: LayerArrays, without: Collection[str] = ()) -> None:
    """Copy arrays into a model's layers of the same names, except the layers in `without`.

    Raises:
        WeightsError: names or shapes differ; `path` begins the message.
    """
    if problem := mismatch(model, arrays, without):
        raise WeightsError(f"{path}: does not fit {model.name}: {problem}")
    assign(model, arrays, without)


def _fill_backbone_or_all(model: "keras.Model", origin: str | Path, path: Path, arrays: LayerArrays) -> None:
    """Copy all arrays, or if the classifiers differ, those of the backbone; a line of the log says so."""
    classifier = _classifier(model)
    if classifier is None:
        fill(model, path, arrays, without=TOP)
        return
    stored = [array.shape for array in arrays.layers.get(classifier.name, [])]
    fits = stored == [tuple(weight.shape) for weight in classifier.weights]
    fill(model, path, arrays, without=() if fits else (classifier.name,) if stored else (classifier.name, *TOP))
    if not fits:
        logger.warning(
            "%s: backbone from %s (%s), fresh classifier for %d classes",
            model.name,
            origin,
            f"{stored[0][-1]} classes" if stored else "no classifier",
            classifier.weights[0].shape[-1],
        )


def _same_names(model: "keras.Model", arrays: LayerArrays) -> bool:
    return not arrays.others and set(arrays.layers) == set(layers_with_weights(model))


def _classifier(model: "keras.Model") -> "keras.Layer | None":
    """Return the layer "logits"; in a user's own model, the last layer with weights, if it is as wide as the output."""
    for layer in model.layers:
        if layer.name == CLASSIFIER:
            return layer
    expected = description_of(model)
    last = next((layer for layer in reversed(model.layers) if layer.weights), None)
    if (expected is not None and expected.factory) or last is None or last.name not in layers_with_weights(model):
        return None
    return last if last.weights[0].shape[-1] == model.output_shape[-1] else None


@contextlib.contextmanager
def _unchanged_on_failure(model: "keras.Model") -> Iterator[None]:
    """Restore a model's variables if the block raises."""
    import numpy as np

    before = [(variable, np.array(variable)) for variable in model.variables]
    try:
        yield
    except Exception:
        for variable, value in before:
            variable.assign(value)
        raise


def _load_in_order(model: "keras.Model", path: Path) -> None:
    """Load as Keras does, by layer class and order."""
    try:
        with (
            _unchanged_on_failure(model),
            warnings.catch_warnings(action="ignore"),
        ):  # the error reports layers that do not fit, too
            model.load_weights(path)
    except Exception as failure:  # h5py and Keras raise OSError, ValueError, KeyError and others
        problem = mismatch(model, read_arrays(path)) or summarize(failure)
        raise WeightsError(f"{path}: does not fit {model.name}: {problem}") from None


def _fill_from_keras_file(model: "keras.Model", path: Path, any_images: bool) -> None:
    """Copy the weights of a saved model; if both have the same input and output, compare what they compute."""
    source = open_keras_file(path)
    before = [layer for layer in source.layers if layer.name == "normalization"]
    after = [layer for layer in model.layers if layer.name == "normalization"]
    same_input = not after or (bool(before) and same_constants(before[0], after[0]))
    if not same_input and not (any_images and before):
        raise WeightsError(f"{path}: contains {source.name} with another normalization of the input than {model.name}")
    size, own_size = image_size_of(source), image_size_of(model)
    if size != own_size and not any_images:
        raise WeightsError(
            f"{path}: contains {source.name} for images {list(size)}; {model.name} takes {list(own_size)}"
        )
    same_shapes = size == own_size and source.output_shape == model.output_shape
    with _unchanged_on_failure(model):
        _fill_backbone_or_all(model, path, path, model_arrays(source))
        if same_input and same_shapes and not same_outputs(source, model, size):
            raise WeightsError(
                f"{path}: contains {source.name} with other outputs than {model.name} has: another architecture or "
                "classifier_activation"
            )
