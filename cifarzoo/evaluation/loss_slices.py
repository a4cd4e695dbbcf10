"""Slices through the loss: its values on a line or a plane of weights around a network.

Directions are random and filter-normalised (Li et al., 2018, https://arxiv.org/abs/1712.09913), so that networks whose
weights differ in scale can be compared. Plain Keras calls: any model, any backend.
"""

import contextlib
import itertools
from dataclasses import dataclass

import numpy as np

from cifarzoo.errors import DataError
from cifarzoo.evaluation.evaluate import predict
from cifarzoo.metrics import log_softmax


@dataclass(frozen=True, eq=False)
class Slice:
    """Loss and error on a grid of one or two directions.

    Attributes:
        coordinates: Places along each direction, float64 arrays; 0 is the network itself, 1 a whole direction away.
        loss: Mean cross-entropy, nats, without weight decay: [len(a)] or [len(a), len(b)]; inf where it overflows.
        error: Percent, of the same shape.
    """

    coordinates: tuple[np.ndarray, ...]
    loss: np.ndarray
    error: np.ndarray


def random_direction(model, seed: int) -> list[np.ndarray]:
    """A filter-normalised random direction, an array a trainable variable of the model.

    Every filter (all of a kernel that leads to one output: everything but the last axis) is a Gaussian vector scaled to
    the norm that the model's filter has; biases and BatchNormalization's gamma and beta are 0, as in the paper's code.
    """
    random = np.random.RandomState(seed)
    direction = []
    for variable in model.trainable_variables:
        values = _numpy(variable)
        drawn = random.standard_normal(values.shape)
        if values.ndim < 2:
            direction.append(np.zeros_like(values))
            continue
        axes = tuple(range(values.ndim - 1))
        norms = [np.sqrt(np.square(v.astype(np.float64)).sum(axes, keepdims=True)) for v in (values, drawn)]
        direction.append((drawn * (norms[0] / norms[1])).astype(values.dtype))
    return direction


def loss_slice(model, images: np.ndarray, labels: np.ndarray, directions, coordinates, batch_size: int = 500) -> Slice:
    """Loss and error at weights + a * first direction (+ b * second direction), for all a (and b).

    BatchNormalization keeps the network's moving statistics. The model's weights are afterwards what they were.

    Args:
        model: Raw pixels in, logits out.
        images: uint8 [n, 32, 32, 3].
        labels: integers [n].
        directions: One or two, as `random_direction` returns them.
        coordinates: As many arrays of places, 1-d.
        batch_size: Of the predictions.

    Raises:
        DataError: directions, coordinates and model do not fit together.
    """
    axes = tuple(np.asarray(values, np.float64) for values in coordinates)
    shapes = [tuple(v.shape) for v in model.trainable_variables]
    if len(directions) not in (1, 2) or len(axes) != len(directions) or any(axis.ndim != 1 for axis in axes):
        raise DataError(f"a slice has one or two directions, each with its places, got {len(directions)}, {len(axes)}")
    if any([np.shape(part) for part in direction] != shapes for direction in directions):
        raise DataError("a direction has an array of its shape for every trainable variable of the model")
    found = []
    with _kept_weights(model) as start:
        for place in itertools.product(*axes):
            for k, variable in enumerate(model.trainable_variables):
                step = sum(x * direction[k].astype(np.float64) for x, direction in zip(place, directions, strict=True))
                with np.errstate(over="ignore"):
                    variable.assign((start[k] + step).astype(start[k].dtype))
            found.append(_loss_and_error(predict(model, images, batch_size), labels))
    loss, error = np.array(found).T.reshape(2, *(len(axis) for axis in axes))
    return Slice(axes, loss, error)


@contextlib.contextmanager
def _kept_weights(model):
    start = [_numpy(variable) for variable in model.trainable_variables]
    try:
        yield start
    finally:
        for variable, value in zip(model.trainable_variables, start, strict=True):
            variable.assign(value)


def _numpy(variable):
    import keras

    return np.array(keras.ops.convert_to_numpy(variable.value))


def _loss_and_error(logits, labels):
    if not np.isfinite(logits).all():  # far away a network may overflow; that is the slice's shape, not a fault
        return np.inf, 100 * np.mean(logits.argmax(axis=1) != labels)
    own = log_softmax(logits)[np.arange(len(labels)), labels]
    return -own.mean(), 100 * np.mean(logits.argmax(axis=1) != labels)
