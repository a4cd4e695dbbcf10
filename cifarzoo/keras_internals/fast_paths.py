"""Run a model the fast way on the active backend, or as plain Keras where its internals are not what we know."""

import contextlib

from cifarzoo.hardware import accelerator_name
from cifarzoo.keras_internals import block_loops
from cifarzoo.keras_internals.block_loops import looped
from cifarzoo.keras_internals.model_graph import any_image_size


@contextlib.contextmanager
def fast_paths(model, *, training: bool, synchronized: bool = False):
    """Trace and call a model with every fast path that the backend has. Results are the same up to rounding.

    | backend | what runs differently |
    |---|---|
    | TensorFlow | the fused kernel of BatchNormalization; repeated blocks as one loop |
    | JAX | repeated blocks as one loop; on CPUs, gradients of convolutions in the order that XLA is fast at |

    Args:
        model: The Keras model, built. Its calls have to be traced in the context.
        training: Whether the calls train it. If so, it also takes images of another size than that of its input.
        synchronized: Whether BatchNormalization takes its statistics over all replicas of a TensorFlow strategy. JAX
            always does.
    """
    import keras

    with contextlib.ExitStack() as stack:
        if training:
            stack.enter_context(any_image_size(model))
        paths = {"tensorflow": _tensorflow_paths, "jax": _jax_paths}.get(keras.backend.backend())
        for path in paths(model, training, synchronized) if paths else []:
            stack.enter_context(path)
        yield


def _tensorflow_paths(model, training, synchronized):
    from cifarzoo.keras_internals.batch_norm import fused_batch_normalization
    from cifarzoo.keras_internals.block_loops_tensorflow import loop_copies

    yield fused_batch_normalization(synchronized=training and synchronized)
    if not (training and synchronized):  # replicas cannot meet inside a loop
        yield looped(model, loop_copies)


def _jax_paths(model, training, synchronized):
    from cifarzoo.keras_internals.block_loops_jax import scan_copies
    from cifarzoo.keras_internals.convolution import canonical_convolutions

    on_cpu = accelerator_name() is None
    if on_cpu:
        yield canonical_convolutions()
    # On CPUs unrolled blocks run faster, so they loop only where XLA would take very long to compile them.
    yield looped(model, scan_copies, block_loops.FEWEST_RECOMPUTED if on_cpu else block_loops.FEWEST_COPIES)
