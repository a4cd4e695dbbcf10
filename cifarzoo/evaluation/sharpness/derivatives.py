"""Derivatives of functions of one flat vector, on TensorFlow and JAX, for use inside compiled functions.

Both classes have the same methods. Vectors are tensors [parameters]; `function` maps one to a tensor, or to a scalar
where a gradient is taken.

A quadratic form v'Hv of a loss needs no Hessian-vector product: it follows from the first two derivatives of the logits
along v (`along`), which forward mode alone computes. A convolution then costs 5 convolutions instead of the 9 of
forward pass, backward pass and their tangents; no activations are stored for a backward pass; and the same pass yields
the forms of the Fisher matrix and the NTK. Hessian-vector products are forward over reverse: on JAX less than half the
work of two backward passes, on TensorFlow about the same.
"""

import keras

from cifarzoo.errors import ModelError


def backend_derivatives():
    """Return the class for the current Keras backend.

    Raises:
        ModelError: the backend is neither TensorFlow nor JAX.
    """
    name = keras.backend.backend()
    if name not in ("tensorflow", "jax"):
        raise ModelError(f"sharpness needs KERAS_BACKEND=tensorflow or jax, got {name}")
    return {"tensorflow": TensorFlowDerivatives, "jax": JaxDerivatives}[name]


class JaxDerivatives:
    """Derivatives by `jax.jvp` and `jax.grad`."""

    @staticmethod
    def compile(function):
        """Compile the function to one XLA program per shape of its arguments."""
        import jax

        return jax.jit(function)

    @staticmethod
    def along(function, at, v, order):
        """Return the function's value at `at` and its first `order` (1 or 2) derivatives along `v`."""
        import jax

        def first(x):
            return jax.jvp(function, (x,), (v,))

        if order == 1:
            return first(at)
        (value, d1), (_, d2) = jax.jvp(first, (at,), (v,))
        return value, d1, d2

    @staticmethod
    def gradient(function, at):
        """Return the function's value and gradient."""
        import jax

        return jax.value_and_grad(function)(at)

    @staticmethod
    def hessian_vector(function, at, v):
        """Return the function's Hessian times `v`."""
        import jax

        return jax.jvp(jax.grad(function), (at,), (v,))[1]


class TensorFlowDerivatives:
    """Derivatives by `tf.autodiff.ForwardAccumulator` and `tf.GradientTape`."""

    @staticmethod
    def compile(function):
        """Compile the function to one graph per shape of its arguments."""
        import tensorflow as tf

        return tf.function(function, autograph=False)

    @staticmethod
    def along(function, at, v, order):
        """See `JaxDerivatives.along`."""
        import tensorflow as tf

        if order == 1:
            with tf.autodiff.ForwardAccumulator(at, v) as first:
                value = function(at)
            return value, _or_zeros(first.jvp(value), value)
        with tf.autodiff.ForwardAccumulator(at, v) as second:
            value, d1 = TensorFlowDerivatives.along(function, at, v, 1)
        return value, d1, _or_zeros(second.jvp(d1), value)

    @staticmethod
    def gradient(function, at):
        """See `JaxDerivatives.gradient`."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(at)
            value = function(at)
        return value, tape.gradient(value, at, unconnected_gradients="zero")

    @staticmethod
    def hessian_vector(function, at, v):
        """See `JaxDerivatives.hessian_vector`."""
        import tensorflow as tf

        with tf.autodiff.ForwardAccumulator(at, v) as forward:
            _, gradient = TensorFlowDerivatives.gradient(function, at)
        return _or_zeros(forward.jvp(gradient), at)


def _or_zeros(tangent, like):
    return keras.ops.zeros_like(like) if tangent is None else tangent
