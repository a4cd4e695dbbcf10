"""`cifarzoo.predict`: the classes of pictures."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from cifarzoo.data.pixels import scaling_problem
from cifarzoo.errors import DataError, ExperimentError, ModelError
from cifarzoo.evaluation.evaluate import predict as predict_pixels
from cifarzoo.evaluation.load_model import LoadedModel, load_model, of_model
from cifarzoo.inference.class_names import class_names_of
from cifarzoo.inference.network import pays_off
from cifarzoo.inference.pictures import FILTERS, FITS, Picture, Resizing, find_pictures, read_chunks
from cifarzoo.inference.predictions import Prediction, Predictions
from cifarzoo.metrics import are_probabilities, log_softmax
from cifarzoo.training.build import check_is_functional

logger = logging.getLogger("cifarzoo")

# A small published network: 0.7 MB, on disk in every installation, and made of plain layers. Larger ones, with fewer
# errors, are one `model=` away.
DEFAULT_MODEL = "cifar_resnet20"


def predict(
    images: Any,
    model: str | os.PathLike | keras.Model | LoadedModel = DEFAULT_MODEL,
    *,
    top: int = 3,
    fit: str | None = None,
    filter: str | None = None,  # noqa: A002  as in an experiments file
    class_names: Sequence[str] | None = None,
    batch_size: int = 500,
) -> Predictions:
    """Predict the classes of pictures.

        cifarzoo.predict("cat.jpg")
        cifarzoo.predict(["cat.jpg", "holidays/"], "resnet9_cifar10_tricks_s0")
        cifarzoo.predict(cifarzoo.load_data("cifar10").test.images[:8])

    Pictures have any size and mode: they are turned as their EXIF data say, transparent parts become white, and they
    are brought to the size of the network's input by Pillow's filter, with antialiasing. An array of that size is used
    as it is.

    Args:
        images: A path of a picture, or of a folder, whose pictures are meant with those in folders below it; an array
            [height, width, 3] or [n, height, width, 3] with pixels in 0-255, or gray without the last axis; a Pillow
            image; or a list of any of these.
        model: Whatever `cifarzoo evaluate` takes: the name of a model, whose default published weights are taken; a tag
            of published weights; the name of another project's checkpoint; a `.weights.h5` or `.keras` file; the folder
            of a run. Or a Keras model that takes pixels in 0-255. By default the published ResNet-20 for CIFAR-10.
        top: Number of classes in `Prediction.top`.
        fit: "crop" takes the square in the middle of a picture, "squash" all of it. By default as the images were
            resized on which a run's network was trained, else "crop".
        filter: "bicubic", or another filter of Pillow; by default likewise, else "bicubic".
        class_names: Names of the classes. By default those that the weights record, else those of the data set.
        batch_size: Pictures per call of the network.

    Returns:
        `Predictions`, a sequence of one `Prediction` per picture.

    Raises:
        DataError: there is no such file, it is not a picture that opens, an array has another shape, or the network's
            outputs are not finite.
        ModelError, WeightsError: there is no such network, or it does not take pictures.
    """
    pictures = find_pictures(images)
    network = network_of(model)
    predictions = predict_pictures(pictures, network, top, fit, filter, class_names, batch_size)
    if predictions.failures:
        more = f", and {len(predictions.failures) - 1:,} more" if len(predictions.failures) > 1 else ""
        raise DataError(f"{predictions.failures[0]}{more}")
    return predictions


def network_of(model: str | os.PathLike | keras.Model | LoadedModel) -> LoadedModel:
    """Return the network that `predict` is asked for.

    Raises:
        ModelError, WeightsError, DataError: as `load_model`.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, str | os.PathLike):
        return load_model(os.fspath(model))
    if isinstance(model, keras.Model):
        check_is_functional(model, model.name)
        return of_model(model)
    raise ModelError(f"model: expected a name, a path or a Keras model, got {type(model).__name__}")


def predict_pictures(
    pictures: Sequence[Picture],
    network: LoadedModel,
    top: int = 3,
    fit: str | None = None,
    filter_name: str | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int = 500,
    progress: Callable[[str, float], None] = lambda step, done: None,
) -> Predictions:
    """Predict pictures with a loaded network; those that cannot be read are named in `Predictions.failures`.

    Args:
        pictures: The pictures.
        network: The network.
        top: See `predict`.
        fit: See `predict`.
        filter_name: See `predict`.
        class_names: See `predict`.
        batch_size: See `predict`.
        progress: Called with what is being done and the fraction done.

    Raises:
        ExperimentError: an option does not fit. ModelError: the network does not take pictures.
        DataError: its outputs are not finite.
    """
    fit = fit or getattr(network.own_data, "fit", Resizing.fit)
    filter_name = filter_name or getattr(network.own_data, "filter", Resizing.filter_name)
    if fit not in FITS or filter_name not in FILTERS:
        wrong, valid = ("fit", FITS) if fit not in FITS else ("filter", FILTERS)
        raise ExperimentError(f"{wrong}: expected {', '.join(valid)}, got {fit if wrong == 'fit' else filter_name!r}")
    if top < 1:
        raise ExperimentError(f"top: expected at least 1, got {top}")
    resizing = Resizing(input_size(network), fit, filter_name)
    names, note = class_names_of(network)
    if class_names is not None:
        if len(class_names) != len(names):
            raise ModelError(f"{network.name}: has {len(names)} outputs, got {len(class_names)} names of classes")
        names, note = tuple(class_names), ""
    if note:
        logger.warning("%s", note)
    model = network.network() if pays_off(network.model, len(pictures)) else network.model
    items: list[Prediction] = []
    failures: list[str] = []
    has_warned = False
    for chunk, pixels, unread in read_chunks(pictures, resizing, batch_size):
        failures += unread
        if chunk:
            problem = _pixel_problem(network, pixels)
            if problem and not has_warned:
                logger.warning("%s", problem)
                has_warned = True
            probabilities = probabilities_of(network, predict_pixels(model, pixels, batch_size))
            items += [
                Prediction(picture.name, _most_probable(row, names, top), row, picture)
                for picture, row in zip(chunk, probabilities, strict=True)
            ]
        progress("predict", (len(items) + len(failures)) / len(pictures))
    return Predictions(network, names, resizing, items, failures)


def input_size(network: LoadedModel) -> int:
    """Return height and width of a network's input; 32 if it takes any.

    Raises:
        ModelError: it does not take square RGB pictures, or does not return one number per class.
    """
    shape, outputs = network.model.input_shape, network.model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise ModelError(f"{network.name}: takes {shape}; expected square pictures with three channels")
    if not isinstance(outputs, tuple) or len(outputs) != 2:
        raise ModelError(f"{network.name}: returns {outputs}; expected one number per class")
    return shape[1] or 32


def _pixel_problem(network: LoadedModel, pixels: np.ndarray) -> str:
    """Return one line if the pixels do not look like those that the network takes, else ""."""
    description = network.description
    if description and description.factory and description.statistics is None:
        if pixels.max() > 20:  # normalized pixels are rarely above three
            return (
                f"{network.name}: takes normalized pixels (include_preprocessing=False), got pixels from "
                f"{pixels.min():.3g} to {pixels.max():.3g}; its predictions mean nothing"
            )
        return ""
    return scaling_problem(pixels) if pixels.dtype != np.uint8 else ""


def probabilities_of(network: LoadedModel, outputs: np.ndarray) -> np.ndarray:
    """Return the probabilities of a network's outputs, float32 [n, classes]: their softmax, or themselves.

    Raises:
        DataError: they are not finite.
    """
    if not np.isfinite(outputs).all():
        raise DataError(f"{network.name}: its outputs are not finite: the weights hold NaN, infinity or huge values")
    if are_probabilities(outputs):
        return outputs
    return np.exp(log_softmax(outputs)).astype(np.float32)


def _most_probable(row: np.ndarray, names: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-row, kind="stable")[:top]
    return tuple((names[k], float(row[k])) for k in order)
