"""Run the copies of a block as one `jax.lax.scan`."""

import jax
import jax.numpy as jnp

from cifarzoo.keras_internals import block_loops


def scan_copies(copies, moving, x, call):
    """Run the copies of a block one after another; see `cifarzoo.keras_internals.block_loops.looped`."""
    if len(copies) >= block_loops.FEWEST_RECOMPUTED:
        call = jax.checkpoint(call, prevent_cse=False)  # a loop's body is no place where the two could be merged
    return jax.lax.scan(call, x, [jnp.stack(values) for values in zip(*copies, strict=True)])
