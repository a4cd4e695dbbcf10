"""Several seeds of one experiment in one JAX program: small networks leave most of a large accelerator idle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cifarzoo.training.engines.batches import padded
from cifarzoo.training.engines.jax import train_steps


class SeedGroup:
    """Engines of the same experiment with different seeds, mapped over by `jax.vmap`.

    Between calls every engine holds its own state, so that all else is done by each alone.

    Args:
        engines: `JaxEngine` objects; the first one's traced step serves all.
    """

    def __init__(self, engines):
        self._engines, self._leader = engines, engines[0]
        self._seeds = np.array([engine.seed for engine in engines], np.int32)
        for engine in engines[1:]:
            engine.share_with(self._leader)
        self._compiled_step = jax.jit(self._step, donate_argnums=0, static_argnames="size")
        self._compiled_train = jax.jit(
            functools.partial(train_steps, self._step), donate_argnums=0, static_argnames=("size", "whole")
        )
        # A program each, as thousands of small ones a call would take longer than the training.
        self._stack = jax.jit(lambda states: jax.tree.map(lambda *values: jnp.stack(values), *states))
        self._unstack = jax.jit(lambda state: [jax.tree.map(lambda v, n=n: v[n], state) for n in range(len(engines))])

    def train(self, first_step: int, indices: np.ndarray, learning_rates: np.ndarray) -> list[dict[str, float]]:
        """Train every seed; see `TensorFlowEngine.train`.

        Args:
            first_step: Number of the first step.
            indices: int32 [seeds, steps, batch_size].
            learning_rates: float64 [steps], of all seeds.

        Returns:
            For every seed the sums over the steps of `loss`, `error` and `gradient_norm`.
        """
        images, labels = self._leader.training_arrays()
        state = self._stack([engine.take_state() for engine in self._engines])
        indices = indices.swapaxes(0, 1)
        steps, longest = len(indices), self._leader.parameters.longest_call
        size = self._leader.image_size(first_step)
        if self._leader.loops_on_device:
            state, sums = self._compiled_train(
                state,
                images,
                labels,
                self._seeds,
                np.int32(first_step),
                np.int32(steps),
                padded(indices, longest),
                padded(learning_rates, longest),
                np.zeros((len(self._seeds), 3), state["trainable"][0].dtype),
                size=size,
                whole=steps == longest,
            )
        else:
            sums = 0
            for k in range(steps):
                state, found = self._compiled_step(
                    state,
                    images,
                    labels,
                    np.int32(first_step + k),
                    indices[k],
                    learning_rates[k],
                    self._seeds,
                    size=size,
                )
                sums = sums + found
        for engine, own in zip(self._engines, self._unstack(state), strict=True):
            engine.put_state(own)
        names = ("loss", "error", "gradient_norm")
        return [dict(zip(names, map(float, found), strict=True)) for found in np.asarray(sums)]

    def _step(self, *args, size):
        """One step of every seed: over states, order of images and seeds."""
        step = functools.partial(self._leader.step, size=size)
        return jax.vmap(step, in_axes=(0, None, None, None, 0, None, 0))(*args)
