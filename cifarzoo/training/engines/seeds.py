"""Several seeds of one experiment in one JAX program: small networks leave most of a large accelerator idle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cifarzoo.training.engines.interface import SUMS, named_sums
from cifarzoo.training.engines.jax_program import Program
from cifarzoo.training.teacher import Lessons


class SeedGroup:
    """Engines of the same parts with different seeds, mapped over by `jax.vmap`.

    Between calls every engine holds its own state, so that everything else is done by each engine alone.

    Args:
        engines: Of type `cifarzoo.training.engines.jax.JaxEngine`; the first one's step is traced for all.
    """

    def __init__(self, engines: list):
        self._engines, self._leader = engines, engines[0]
        self._lessons: Lessons | None = None
        self._seeds = np.array([engine.seed for engine in engines], np.int32)
        for engine in engines[1:]:
            engine.share_with(self._leader)
        longest, sums_shape = self._leader.parts.max_steps_per_call, (len(engines), len(SUMS))
        self._program = Program(self._step, longest, sums_shape=sums_shape)
        # One program each, because thousands of small ones per call would take longer than the training.
        self._stack = jax.jit(lambda states: jax.tree.map(lambda *values: jnp.stack(values), *states))
        self._unstack = jax.jit(lambda state: [jax.tree.map(lambda v, n=n: v[n], state) for n in range(len(engines))])

    def train(self, first_step: int, indices: np.ndarray, learning_rates: np.ndarray) -> list[dict[str, float]]:
        """Train every seed; see `EngineGroup.train`."""
        leader = self._leader
        arrays, size = leader.training_arrays(), leader.parts.image_size(first_step)
        train = self._program.by_loop if leader.loops_on_device else self._program.by_step
        if self._lessons is None and leader.teacher:
            self._lessons = self._lessons_of_all()
        state = self._stack([engine.take_state() for engine in self._engines])
        order = indices.swapaxes(0, 1)
        state, sums = train(state, arrays, self._seeds, first_step, order, learning_rates, size, self._lessons)
        for engine, own_state in zip(self._engines, self._unstack(state), strict=True):
            engine.put_state(own_state)
        return [named_sums(values) for values in np.asarray(sums)]

    def _lessons_of_all(self):
        """Return the teacher's weights, which all seeds share, or its logits, [seeds, views, images, classes]."""
        lessons = self._leader.teacher.lessons()
        if lessons.logits is None:
            return lessons
        return lessons._replace(logits=jnp.stack([engine.teacher.lessons().logits for engine in self._engines]))

    def _step(self, *args, size):
        """Train one step of every seed: maps over states, order of images, seeds and the teacher's logits."""
        step = functools.partial(self._leader.step, size=size)
        lessons = Lessons(values=None, logits=0) if self._leader.teacher else None
        return jax.vmap(step, in_axes=(0, None, None, None, 0, None, 0, lessons))(*args)
