"""Kernels of the user's own augmentations: functions of a module, and layers of Keras."""

import contextlib
import difflib
import inspect
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from cifarzoo.augment import own_spec
from cifarzoo.augment.base import DatasetFacts
from cifarzoo.augment.random import Draws
from cifarzoo.errors import ExperimentError, summarize
from cifarzoo.user_code import user_module


class OwnFunctionKernel:
    """Calls a function of the user's module inside the training step.

    The function is called as `function(images, labels, draws, **arguments)`, with images float32 [batch, height, width,
    3] with values 0-255; labels int32 [batch], or float32 [batch, classes] once mixed or if they are soft; and
    `cifarzoo.augment.random.Draws`, its only source of randomness. It returns images of the same shape, or a pair of
    images and labels.

    Args:
        parameters: The entry.

    Raises:
        ExperimentError: there is no such module or function, or it does not take these arguments.
    """

    def __init__(self, parameters: own_spec.OwnFunction):
        self._name = f"{parameters.module}.{parameters.function}"
        self._function: Callable[..., Any] = _imported(parameters.module, parameters.function)
        try:
            inspect.signature(self._function).bind(None, None, None, **parameters.arguments)
        except TypeError as failure:
            raise ExperimentError(
                f"{self._name}: cannot be called with (images, labels, draws"
                f"{''.join(f', {key}' for key in parameters.arguments)}): {failure}"
            ) from None
        except ValueError:  # a builtin without a signature
            pass

    def __call__(self, parameters: own_spec.OwnFunction, images, labels, draws: Draws, dataset: DatasetFacts) -> tuple:
        """Transform a batch: images become float32."""
        images = ops.cast(images, "float32")
        with _checked_call(self._name):
            result = self._function(images, labels, draws, **parameters.arguments)
        changed, new_labels = result if isinstance(result, tuple) and len(result) == 2 else (result, labels)
        return (
            _checked_images(self._name, changed, images),
            labels if new_labels is labels else _checked_labels(self._name, new_labels, labels, dataset.classes),
        )


class KerasLayerKernel:
    """Calls a layer of Keras, with `training=True`, inside the training step.

    The states of the layer's random generators are replaced by numbers that depend on the run's seed, the step, the
    entry's place in the list, and the position of the first image of this replica's share of the batch.

    Args:
        parameters: The entry.

    Raises:
        ExperimentError: there is no such layer, its arguments are wrong, or it has weights.
    """

    def __init__(self, parameters: own_spec.KerasLayer):
        self._name = f"keras: {parameters.layer}"
        kind = getattr(keras.layers, parameters.layer, None)
        if not (isinstance(kind, type) and issubclass(kind, keras.layers.Layer)):
            near = difflib.get_close_matches(parameters.layer, dir(keras.layers), n=2)
            advice = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ExperimentError(f"{self._name}: keras.layers has no such layer{advice}")
        state = random.getstate()  # which seeds of layers would change
        try:
            self._layer = kind(**parameters.arguments, dtype="float32")
            if not self._layer.built:
                self._layer.build((None, None, None, 3))
        except Exception as failure:  # layers raise anything from TypeError to AttributeError
            raise ExperimentError(f"{self._name}: {summarize(failure)}") from None
        finally:
            random.setstate(state)
        if self._layer.weights:
            raise ExperimentError(f"{self._name}: has weights, and an augmentation is not trained")

    def __call__(self, parameters: own_spec.KerasLayer, images, labels, draws: Draws, dataset: DatasetFacts) -> tuple:
        """Transform a batch: images become float32."""
        images = ops.cast(images, "float32")
        states = self._layer.variables
        first = replace(draws, index=draws.index[:1])
        # 24 bits per word, which every dtype of Keras' generators holds.
        words = first.uniform(2 * len(states))[0] * 2.0**24 if states else []
        values = [ops.cast(words[2 * n : 2 * n + 2], state.dtype) for n, state in enumerate(states)]
        with _checked_call(self._name), keras.StatelessScope(list(zip(states, values, strict=True))):
            changed = self._layer(images, training=True)
        return _checked_images(self._name, changed, images), labels


@contextlib.contextmanager
def _checked_call(name: str) -> Iterator[None]:
    """Inside the block, calls the user's code or a layer: reports what it raises, and numbers that would not repeat.

    The code runs when the step is compiled. What it draws from Python's or NumPy's generators then becomes a constant,
    which is another one in a resumed run.

    Raises:
        ExperimentError: the block failed, or drew such numbers.
    """
    before = _random_states()
    try:
        yield
    except ExperimentError:
        raise
    except Exception as failure:  # of any kind
        raise ExperimentError(f"{name}: failed ({summarize(failure)})") from None
    if _random_states() != before:
        raise ExperimentError(
            f"{name}: draws from Python's or NumPy's random numbers, which a resumed run would not repeat; "
            "draw from `draws`, the third argument of an own function"
        )


def _random_states() -> tuple[Any, ...]:
    _, words, position, *gauss = np.random.get_state()  # noqa: NPY002 (the generator of other people's code)
    return random.getstate(), np.asarray(words).tobytes(), position, *gauss


def _imported(module: str, function: str) -> Callable[..., Any]:
    imported = user_module(module, "module", ExperimentError)
    found = getattr(imported, function, None)
    if not callable(found):
        raise ExperimentError(f"{module} has no function {function!r}")
    return found


def _checked_images(name: str, images: Any, before: Any) -> Any:
    """Return float32 images after comparing their shape with that before."""
    images = _tensor(name, images)
    if not _same_shape(images.shape, before.shape):
        raise ExperimentError(f"{name}: returns {list(images.shape)} for images {list(before.shape)}")
    return ops.cast(images, "float32")


def _checked_labels(name: str, labels: Any, before: Any, classes: int) -> Any:
    """Return int32 labels [batch] or float32 ones [batch, classes] after checking their shape."""
    labels = _tensor(name, labels)
    batch = before.shape[0]
    if _same_shape(labels.shape, (batch,)) and "int" in standardize_dtype(labels.dtype):
        return ops.cast(labels, "int32")
    if _same_shape(labels.shape, (batch, classes)):
        return ops.cast(labels, "float32")
    expected = f"expected integers [{batch}] or shares [{batch}, {classes}]"
    raise ExperimentError(f"{name}: returns labels {standardize_dtype(labels.dtype)} {list(labels.shape)}; {expected}")


def _tensor(name: str, value: Any) -> Any:
    try:
        return ops.convert_to_tensor(value)
    except Exception:  # backends raise many kinds for what is not an array
        raise ExperimentError(f"{name}: returns {type(value).__name__}, no array") from None


def _same_shape(shape: Any, expected: Any) -> bool:
    """Whether two shapes are equal, as far as they are known before the step runs."""
    return len(shape) == len(expected) and all(
        None in (side, other) or side == other for side, other in zip(shape, expected, strict=True)
    )
