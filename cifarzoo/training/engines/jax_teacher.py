"""The teacher on JAX's devices: its weights or its logits, arguments of the compiled step that all seeds share."""

from typing import Any, Protocol

import jax
import numpy as np

from cifarzoo.augment.random import Draws
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.training.engines.batches import evaluation_indices
from cifarzoo.training.parts import Parts
from cifarzoo.training.teacher import Lessons, Teacher


class Devices(Protocol):
    """What the teacher needs of `JaxEngine`."""

    parts: Parts
    seed: int
    replicas: int

    def on_device(self, split: str) -> tuple[jax.Array, jax.Array]:
        """Return images and labels of a split on the device."""
        ...


class JaxTeacher:
    """The teacher of an engine; see `cifarzoo.training.engines.interface.EngineTeacher`.

    Args:
        engine: The engine.
        teacher: What it learns from.
        replicated: Sharding of what every device has.
        sharded: Sharding of a batch.
    """

    def __init__(
        self,
        engine: Devices,
        teacher: Teacher,
        replicated: jax.sharding.Sharding,
        sharded: jax.sharding.Sharding,
    ):
        self._engine, self._parts, self._teacher = engine, engine.parts, teacher
        self._replicated, self._sharded = replicated, sharded
        self._values: list[list[jax.Array]] | None = None
        self._logits: jax.Array | None = None
        self._compiled = jax.jit(self._predict, out_shardings=replicated)

    def lessons(self) -> Lessons:
        """Return what the compiled step takes; the weights only where they are needed."""
        if self._logits is not None:
            return Lessons([], self._logits)
        return Lessons(self._weights())

    def _weights(self):
        if self._values is None:
            # Not by way of NumPy: on a single device they stay where they are, and are not stored twice.
            self._values = [
                [jax.device_put(variable.value, self._replicated) for variable in model.variables]
                for model in self._teacher.models
            ]
        return self._values

    def share_with(self, other: "JaxTeacher") -> None:
        """Use the compiled prediction of another engine's teacher, which is the same, and its weights if needed."""
        self._compiled = other._compiled
        if self._logits is None:
            self._values = other._weights()

    def keep(self, logits: np.ndarray) -> None:
        """Train on these logits; see `EngineTeacher.keep`."""
        self._logits, self._values = jax.device_put(logits, self._replicated), None

    def logits(self, split: str, view: int | None = None) -> np.ndarray:
        """Compute the logits of a whole split; see `EngineTeacher.logits`."""
        engine, weights = self._engine, self._weights()
        images, labels = engine.on_device(split)
        number, seed = None if view is None else np.int32(view), np.asarray(engine.seed, np.int32)
        batches = evaluation_indices(len(images), self._parts.eval_batch_size, engine.replicas)
        logits = jax.device_get([self._compiled(weights, images, labels, batch, seed, number) for batch in batches])
        return np.concatenate(logits)[: len(images)].astype(np.float32)

    def _predict(self, weights, images, labels, indices, seed, view) -> Any:
        indices = jax.lax.with_sharding_constraint(indices, self._sharded)
        batch = images[indices]
        with arithmetic(self._parts.precision):
            if view is not None:
                draws = Draws(seed, 0, indices, 0, indices).in_view(view)
                batch, _ = self._parts.augment(batch, labels[indices], draws)
            return self._teacher.logits(weights, batch)
