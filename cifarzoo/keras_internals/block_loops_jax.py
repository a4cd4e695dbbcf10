"""Run the copies of a block as one `jax.lax.scan`."""

import jax
import jax.numpy as jnp

from cifarzoo.keras_internals import block_loops

# On CPUs unrolled blocks run faster than loops, so only as many as XLA takes very long to compile become a loop.
MIN_COPIES_ON_CPU = 64


def scan_copies(copies, moving, x, call):
    """Run the copies of a block one after another; see `block_loops.looped_blocks` for arguments and result."""
    if len(copies) >= block_loops.MIN_RECOMPUTED_COPIES:
        call = jax.checkpoint(call, prevent_cse=False)  # XLA merges nothing across the iterations of a loop
    return jax.lax.scan(call, x, [jnp.stack(values) for values in zip(*copies, strict=True)])
