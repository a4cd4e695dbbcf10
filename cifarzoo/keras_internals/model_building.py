"""Build models fast, and deep ones at all.

No garbage collection meanwhile, few distinct TensorFlow variable names, cheap random numbers on JAX, deep recursion.
"""

import contextlib
import gc
import sys

from cifarzoo.keras_internals.support import internal


@internal("shared variable names", without="building deep models on TensorFlow takes longer")
def supported() -> bool:
    """Whether TensorFlow lets a scope rename the variables that Keras creates."""
    import tensorflow as tf

    return callable(tf.variable_creator_scope)


@contextlib.contextmanager
def fast_model_building():
    """Speed up the building of models in the context, and let them be deeper than 1,000 layers."""
    with _without_garbage_collection(), _shared_variable_names(), _cheap_random_numbers(), _deep_recursion():
        yield


@contextlib.contextmanager
def _deep_recursion():
    """Let Keras recurse through a model of some thousand layers one after another, which takes Python's frames only."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@contextlib.contextmanager
def _without_garbage_collection():
    """Pause Python's garbage collector, which takes half the time of building a deep model: so many objects live."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _shared_variable_names():
    """Name TensorFlow's variables "kernel", "gamma" and so on, without the layer's name.

    TensorFlow compiles one initializer per distinct name, a third of the time to build a deep model. The `path` of a
    Keras variable stays as it is.
    """
    import keras

    if keras.backend.backend() != "tensorflow" or not supported.or_warn():
        yield
        return
    import tensorflow as tf

    def create(next_creator, **arguments):
        # The slash makes the name absolute, without the scopes around it.
        return next_creator(**arguments | {"name": f"{arguments.get('name') or 'variable'}/"})

    with tf.variable_creator_scope(create):
        yield


@contextlib.contextmanager
def _cheap_random_numbers():
    """Draw initial weights on JAX without its default way of splitting random numbers between devices.

    JAX compiles one initializer per shape of a kernel. By default, compiling one takes seconds on a processor, four
    times as long.
    """
    import keras

    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    with jax.threefry_partitionable(False):
        yield
