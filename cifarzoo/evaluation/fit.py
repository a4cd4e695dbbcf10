"""Check that a model and a data set fit each other."""

import keras

from cifarzoo.data import Dataset
from cifarzoo.data.classes import other_classes
from cifarzoo.errors import DataError
from cifarzoo.evaluation.load_model import LoadedModel


def check_fits(loaded: LoadedModel, dataset: Dataset) -> None:
    """Check that a model takes the data set's images and has its classes, in its order.

    Raises:
        DataError: it does not.
    """
    check_shapes(loaded.model, dataset, loaded.name)
    if loaded.class_names and loaded.class_names != tuple(dataset.class_names):
        raise DataError(f"{loaded.name}: {other_classes(loaded.class_names, dataset)}")


def check_shapes(model: keras.Model, dataset: Dataset, source: str) -> None:
    """Check that the model takes the data set's images and has one output per class.

    Raises:
        DataError: it does not; the message names `source`.
    """
    images = (None, *dataset.train.images.shape[1:])
    try:
        inputs, outputs = model.input_shape, model.output_shape
    except AttributeError:  # a subclassed model: Keras learns its shapes from a call
        inputs, outputs = images, tuple(model(dataset.train.images[:1]).shape)
    fits = len(inputs) == len(images) and all(a in (None, b) for a, b in zip(inputs, images, strict=True))
    if not fits:
        raise DataError(f"{source}: the model takes {inputs}, images are {images}")
    if len(outputs) != 2:
        raise DataError(f"{source}: the model returns {outputs}, expected logits (None, {dataset.classes})")
    if outputs[-1] != dataset.classes:
        raise DataError(f"{source}: the model has {outputs[-1]} outputs, {dataset.name} has {dataset.classes} classes")
