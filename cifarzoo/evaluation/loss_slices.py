"""Slices through the loss: its values on a line or a plane through a network's weights.

Directions are random and filter-normalized (Li et al., 2018, https://arxiv.org/abs/1712.09913), so that networks with
weights of different scale can be compared. Only public Keras calls, so any model works on any backend.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cifarzoo.errors import DataError
from cifarzoo.evaluation.evaluate import predict
from cifarzoo.metrics import log_softmax


@dataclass(frozen=True, eq=False)
class Slice:
    """Loss and error on a grid along one or two directions.

    Attributes:
        coordinates: Coordinates along each direction, float64 arrays: 0 is the network itself, 1 is one direction away.
        loss: Mean cross-entropy in nats, without weight decay: [len(a)] or [len(a), len(b)]; inf where it overflows.
        error: Percent, in the same shape.
    """

    coordinates: tuple[np.ndarray, ...]
    loss: np.ndarray
    error: np.ndarray


def random_direction(model: keras.Model, seed: int) -> list[np.ndarray]:
    """Draw a filter-normalized random direction, one array per trainable variable of the model.

    Each filter (the part of a kernel that leads to one output: all axes except the last) is a Gaussian vector scaled to
    the norm of the model's filter. As in the paper's code, biases and BatchNormalization's gamma and beta are 0.
    """
    random = np.random.RandomState(seed)
    direction = []
    for variable in model.trainable_variables:
        values = _to_numpy(variable)
        drawn = random.standard_normal(values.shape)
        if values.ndim < 2:
            direction.append(np.zeros_like(values))
            continue
        axes = tuple(range(values.ndim - 1))
        norms = [np.sqrt(np.square(v.astype(np.float64)).sum(axes, keepdims=True)) for v in (values, drawn)]
        direction.append((drawn * (norms[0] / norms[1])).astype(values.dtype))
    return direction


def loss_slice(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    directions: Sequence[list[np.ndarray]],
    coordinates: Sequence[np.ndarray],
    batch_size: int = 500,
    progress: Callable[[float], None] = lambda done: None,
) -> Slice:
    """Compute loss and error at weights + a * first direction (+ b * second direction), for all a (and b).

    BatchNormalization keeps the network's moving statistics. Afterwards the model's weights are restored.

    Args:
        model: Takes raw pixels, returns logits.
        images: uint8 [n, 32, 32, 3].
        labels: Integers [n].
        directions: One or two, as `random_direction` returns them.
        coordinates: For each direction, its coordinates [m].
        batch_size: Images per prediction call.
        progress: Called before each point with the fraction of points measured.

    Raises:
        DataError: directions, coordinates and model do not match.
    """
    axes = tuple(np.asarray(values, np.float64) for values in coordinates)
    shapes = [tuple(v.shape) for v in model.trainable_variables]
    if len(directions) not in (1, 2) or len(axes) != len(directions) or any(axis.ndim != 1 for axis in axes):
        raise DataError(
            f"expected one or two directions and as many 1-d arrays of coordinates, got {len(directions)} directions "
            f"and {len(axes)} arrays of {[axis.ndim for axis in axes]} dimensions"
        )
    for direction in directions:
        if (received := [np.shape(part) for part in direction]) != shapes:
            raise DataError(
                f"expected a direction with one array per trainable variable, of shapes {shapes}, got {received}"
            )
    points: list[tuple[float, float]] = []
    with _restored_weights(model) as start:
        for point in itertools.product(*axes):
            progress(len(points) / np.prod([len(axis) for axis in axes]))
            for k, variable in enumerate(model.trainable_variables):
                step = sum(x * direction[k].astype(np.float64) for x, direction in zip(point, directions, strict=True))
                with np.errstate(over="ignore"):
                    variable.assign((start[k] + step).astype(start[k].dtype))
            points.append(_loss_and_error(predict(model, images, batch_size), labels))
    loss, error = np.array(points).T.reshape(2, *(len(axis) for axis in axes))
    return Slice(axes, loss, error)


@contextlib.contextmanager
def _restored_weights(model: keras.Model) -> Iterator[list[np.ndarray]]:
    start = [_to_numpy(variable) for variable in model.trainable_variables]
    try:
        yield start
    finally:
        for variable, value in zip(model.trainable_variables, start, strict=True):
            variable.assign(value)


def _to_numpy(variable: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(variable.value))


def _loss_and_error(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    error = 100 * np.mean(logits.argmax(axis=1) != labels)
    if not np.isfinite(logits).all():  # far from its weights a network may overflow: part of the slice, not an error
        return np.inf, error
    return -log_softmax(logits)[np.arange(len(labels)), labels].mean(), error
