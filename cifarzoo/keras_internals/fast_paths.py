"""Run a model the fast way on the active backend."""

import contextlib

from cifarzoo.hardware import accelerator_name
from cifarzoo.keras_internals.fast_group_norm import fast_group_normalization
from cifarzoo.keras_internals.model_graph import all_layers, any_image_size


@contextlib.contextmanager
def fast_paths(model, *, training: bool, synchronized: bool = False):
    """Trace a model with every fast path that its backend has. Results are equal up to rounding.

    | backend | what runs differently |
    |---|---|
    | TensorFlow | BatchNormalization in one fused kernel; repeated blocks as one loop |
    | JAX | repeated blocks as one loop; on CPUs, gradients of convolutions in the order that XLA is fast at |
    | both | GroupNormalization in fewer passes |

    A path that this Keras version does not support is left out, with one logged warning per process.

    Args:
        model: The Keras model, built. Its calls have to be traced in the context.
        training: Whether the calls train it. If so, it also takes images of another size than its input's.
        synchronized: While training, take BatchNormalization's statistics over all replicas of a TensorFlow strategy.
            JAX always does.

    Raises:
        ExperimentError: `synchronized`, and this Keras version does not support it.
    """
    import keras

    with contextlib.ExitStack() as stack:
        if training:
            stack.enter_context(any_image_size(model))
        if keras.backend.backend() == "tensorflow":
            _enter_tensorflow_paths(stack, model, synchronized=training and synchronized)
        elif keras.backend.backend() == "jax":
            _enter_jax_paths(stack, model)
        if any(isinstance(layer, keras.layers.GroupNormalization) for layer in all_layers(model)):
            stack.enter_context(fast_group_normalization())
        yield


def _enter_tensorflow_paths(stack, model, synchronized):
    from cifarzoo.keras_internals.block_loops import looped_blocks
    from cifarzoo.keras_internals.block_loops_tensorflow import loop_copies
    from cifarzoo.keras_internals.fused_batch_norm import fused_batch_normalization

    stack.enter_context(fused_batch_normalization(synchronized))
    if not synchronized:  # replicas cannot synchronize inside a loop
        stack.enter_context(looped_blocks(model, loop_copies))


def _enter_jax_paths(stack, model):
    from cifarzoo.keras_internals import block_loops_jax
    from cifarzoo.keras_internals.block_loops import looped_blocks
    from cifarzoo.keras_internals.convolution_gradients import canonical_convolutions

    min_copies = None
    if accelerator_name() is None:
        stack.enter_context(canonical_convolutions())
        min_copies = block_loops_jax.MIN_COPIES_ON_CPU
    stack.enter_context(looped_blocks(model, block_loops_jax.scan_copies, min_copies))
