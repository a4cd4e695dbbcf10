"""The teacher on TensorFlow's devices: its weights or its logits, arguments of the compiled call."""

import functools
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from cifarzoo.augment.random import Draws
from cifarzoo.data import Dataset
from cifarzoo.training.engines.batches import evaluation_indices
from cifarzoo.training.engines.strategies import get_strategy
from cifarzoo.training.parts import Parts
from cifarzoo.training.teacher import Lessons, Teacher


class Devices(Protocol):
    """What the teacher needs of `TensorFlowEngine`."""

    seed: int
    replicas: int

    def on_devices(self, split: str) -> tuple:
        """Return images and labels of a split, one copy for every replica."""
        ...

    def spread(self, array: Any) -> Any:
        """Return a tensor, or one copy of it for every replica."""
        ...

    def share(self, indices: Any) -> tuple:
        """Return this replica's slots in the global batch, and the indices of these slots."""
        ...


class TensorFlowTeacher:
    """The teacher of an engine; see `cifarzoo.training.engines.interface.EngineTeacher`.

    Args:
        engine: The engine.
        parts: What it trains with.
        teacher: What it learns from.
        dataset: Its data set.
    """

    def __init__(self, engine: Devices, parts: Parts, teacher: Teacher, dataset: Dataset):
        self._engine, self._parts, self._teacher, self._dataset = engine, parts, teacher, dataset
        self._strategy: Any = get_strategy(parts.distribution)
        self._values: list | None = None
        self._logits: Any = None
        self._compiled = tf.function(functools.partial(self._predict), autograph=False)

    def lessons(self) -> Lessons:
        """Return what the compiled call takes, one copy for every replica; the weights only where they are needed."""
        if self._logits is not None:
            return Lessons([], self._logits)
        return Lessons(self._weights())

    def _weights(self):
        if self._values is None:
            spread = self._engine.spread
            self._values = [[spread(v.value) for v in model.variables] for model in self._teacher.models]
        return self._values

    def keep(self, logits: np.ndarray) -> None:
        """Train on these logits; see `EngineTeacher.keep`."""
        self._logits, self._values = self._engine.spread(logits), None

    def logits(self, split: str, view: int | None = None) -> np.ndarray:
        """Compute the logits of a whole split; see `EngineTeacher.logits`."""
        engine, weights = self._engine, self._weights()
        images, labels = engine.on_devices(split)
        count = self._dataset.size(split)
        number = None if view is None else tf.constant(view, tf.int32)
        batches = evaluation_indices(count, self._parts.eval_batch_size, engine.replicas)
        logits = [self._compiled(weights, images, labels, tf.constant(batch), number).numpy() for batch in batches]
        return np.concatenate(logits)[:count].astype(np.float32)

    def _predict(self, *arguments):
        if self._strategy is None:
            return self._predict_share(*arguments)
        return self._strategy.gather(self._strategy.run(self._predict_share, args=arguments), axis=0)

    def _predict_share(self, weights, images, labels, indices, view):
        _, indices = self._engine.share(indices)
        batch = tf.gather(images, indices)
        if view is not None:
            draws = Draws(self._engine.seed, 0, indices, 0, indices).in_view(view)
            batch, _ = self._parts.augment(batch, tf.gather(labels, indices), draws)
        return self._teacher.logits(weights, batch)
