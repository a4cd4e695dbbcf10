"""Compile training steps with JAX: many per call in one loop, or one per call."""

import jax
import numpy as np

from cifarzoo.training.engines.batches import padded
from cifarzoo.training.engines.interface import SUMS


class Program:
    """Compiled training steps: a loop over many, for accelerators, or one after another, for processors.

    Args:
        step: `JaxEngine.step`, or the same function over several seeds.
        longest: Steps of the longest call.
        sharding: Of the results; None leaves it to JAX.
        sums_shape: Shape of what a step adds to the sums.
    """

    def __init__(self, step, longest: int, sharding=None, sums_shape: tuple[int, ...] = (len(SUMS),)):
        self._step, self._longest, self._sums_shape = step, longest, sums_shape
        options = {"donate_argnums": 0} | ({} if sharding is None else {"out_shardings": sharding})
        self.compiled_loop = jax.jit(self._loop, static_argnames=("size", "whole"), **options)
        self.compiled_step = jax.jit(step, static_argnames="size", **options)

    def by_loop(self, state, arrays, seed, first_step, indices, learning_rates, size, lessons=None):
        """Train `len(indices)` steps in one program; returns the state after them and the sums over them."""
        return self.compiled_loop(
            state,
            *arrays,
            np.asarray(seed, np.int32),
            np.int32(first_step),
            np.int32(len(indices)),
            padded(indices, self._longest),
            padded(learning_rates, self._longest),
            np.zeros(self._sums_shape, state.trainable[0].dtype),
            lessons,
            size=size,
            whole=len(indices) == self._longest,
        )

    def by_step(self, state, arrays, seed, first_step, indices, learning_rates, size, lessons=None):
        """Train the same steps by one program each."""
        sums = 0
        for k, (row, rate) in enumerate(zip(indices, learning_rates, strict=True)):
            step = np.int32(first_step + k)
            state, values = self.compiled_step(state, *arrays, step, row, rate, seed, lessons, size=size)
            sums = sums + values
        return state, sums

    def _loop(
        self,
        state,
        images,
        labels,
        seed,
        first_step,
        steps,
        indices,
        learning_rates,
        sums,
        lessons=None,
        *,
        size,
        whole,
    ):
        """Run any number of steps; a function to be traced.

        The seed is not a constant in the program, so that one program serves all seeds. The first `steps` of `indices`
        and `learning_rates` count; `whole` says that they are all: a loop whose length the compiler knows does not ask
        the host after each step whether to continue.
        """

        def body(k, carry):
            state, sums = carry
            state, values = self._step(
                state, images, labels, first_step + k, indices[k], learning_rates[k], seed, lessons, size=size
            )
            return state, sums + values

        return jax.lax.fori_loop(0, len(indices) if whole else steps, body, (state, sums))
