"""Compute how a network does on augmented images: one compilation, in which each image's operation is data."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarzoo.augment.base import CIFAR10_MEAN
from cifarzoo.augment.operations import apply
from cifarzoo.hardware import accelerator_name, full_float32
from cifarzoo.inference.network import MIN_IMAGES, CompiledNetwork, pays_off
from cifarzoo.keras_internals.fast_paths import fast_paths
from cifarzoo.metrics import log_softmax
from cifarzoo.search.held_out import HeldOut
from cifarzoo.search.space import Space

BLACK = (0, 0, 0)
# Images per call. An accelerator needs more to be busy.
BATCH, BATCH_ON_ACCELERATORS = 500, 4_000


class Scorer:
    """A network and the held-out images on which policies are measured.

    Args:
        model: The network: pixels 0-255 to logits.
        space: The transformations.
        held_out: The images.
        batch: Images per compiled call; by default as the device needs them.
    """

    def __init__(self, model: keras.Model, space: Space, held_out: HeldOut, batch: int | None = None):
        self._space, self._held_out = space, held_out
        self._batch = batch or (BATCH if accelerator_name() is None else BATCH_ON_ACCELERATORS)
        self._augment = _augmentation(space)
        self._network = _network(model)

    def scores(self, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Score all sub-policies that begin with one transformation, applied always.

        Args:
            first: The number of the first transformation.

        Returns:
            The cross-entropy in nats, float32 [cells, images], and whether the largest logit is that of the label,
            bool [cells, images], by the number of the second transformation.
        """
        held_out, cells, count = self._held_out, len(self._space), len(self._held_out)
        everyone = np.arange(count)
        once = self._augmented(held_out.images, np.full(count, first), everyone, slot=0)
        changed = np.concatenate([np.asarray(batch) for batch in once])
        second, image = np.repeat(np.arange(cells), count), np.tile(everyone, cells)
        with full_float32():
            parts = [self._network(batch) for batch in self._augmented(changed, second, image, slot=1)]
        logits = np.concatenate([np.asarray(part, np.float32) for part in parts])[: cells * count]
        labels = held_out.labels[image]
        loss = -log_softmax(logits)[np.arange(len(labels)), labels]
        correct = np.argmax(logits, axis=-1) == labels
        return loss.reshape(cells, count).astype(np.float32), correct.reshape(cells, count)

    def _augmented(self, images: np.ndarray, cells: np.ndarray, image: np.ndarray, slot: int):
        """Yield augmented images in batches, the last of which is filled up with its last image.

        Args:
            images: uint8 [n, height, width, 3].
            cells: The transformation of each row, int [rows].
            image: The number of the image of each row, int [rows].
            slot: Which of a sub-policy's operations it is.
        """
        draws = self._held_out.draws[:, slot]
        rows = 2 * cells + (draws[image, 0] < 0.5)
        missing = -len(rows) % self._batch
        rows, image = (np.concatenate([part, np.repeat(part[-1:], missing)]) for part in (rows, image))
        for start in range(0, len(rows), self._batch):
            chosen = image[start : start + self._batch]
            yield self._augment(images[chosen], rows[start : start + self._batch].astype("int32"), draws[chosen])


def _augmentation(space: Space) -> Callable[..., Any]:
    """Return a compiled function of images, rows of the table and places of Cutout."""

    def augment(images, rows, corners):
        return apply(images, rows, corners, space.table, BLACK, CIFAR10_MEAN)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(augment, jit_compile=True, autograph=False)
    import jax

    return jax.jit(augment)


def _network(model: keras.Model) -> Callable[[Any], Any]:
    """Return a compiled function from images to logits."""
    if pays_off(model, MIN_IMAGES):
        return CompiledNetwork(model)
    dtype = model.inputs[0].dtype
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def outputs(images):
            with fast_paths(model, training=False):
                return model(tf.cast(images, dtype), training=False)

        return tf.function(outputs, autograph=False)
    import jax

    variables = [[variable.value for variable in part] for part in _variables(model)]

    @jax.jit
    def stateless(variables, images):
        with fast_paths(model, training=False):
            return model.stateless_call(*variables, ops.cast(images, dtype), training=False)[0]

    return lambda images: stateless(variables, images)


def _variables(model):
    return model.trainable_variables, model.non_trainable_variables
