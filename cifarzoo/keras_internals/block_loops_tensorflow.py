"""Run the copies of a block as one `tf.while_loop`."""

import tensorflow as tf

from cifarzoo.keras_internals import block_loops


def loop_copies(copies, moving, x, call):
    """Run the copies of a block one after another; see `block_loops.looped_blocks` for arguments and result."""
    count = len(copies)
    if count >= block_loops.MIN_RECOMPUTED_COPIES:
        call = _recomputed(call)
    stacks = [_array(values[0], count).unstack(tf.stack(values)) for values in zip(*copies, strict=True)]

    def body(number, x, arrays):
        y, new = call(x, [stack.read(number) for stack in stacks])
        arrays = [array.write(number, value) for array, value in zip(arrays, new, strict=True)]
        return number + 1, tf.ensure_shape(y, x.shape), arrays

    start = tf.constant(0), x, [_array(copies[0][index], count) for index in moving]
    _, x, arrays = tf.while_loop(
        lambda number, *_: number < count, body, start, parallel_iterations=1, maximum_iterations=count
    )
    return x, [tf.unstack(array.stack(), count) for array in arrays]


def _recomputed(call):
    """Wrap a copy's `call` so that a loop keeps only its input and computes the rest again for the gradient."""

    @tf.custom_gradient
    def run(x, *values):
        y, new = call(x, values)

        def gradient(dy, *_):  # nothing is differentiated through moving statistics
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([x, *values])
                again, _ = call(x, values)
            return tape.gradient(again, [x, *values], dy, unconnected_gradients="zero")

        return (y, *new), gradient

    def call_recomputed(x, values):
        y, *new = run(x, *values)
        return y, new

    return call_recomputed


def _array(like, count):
    return tf.TensorArray(like.dtype, count, element_shape=like.shape, clear_after_read=False)
