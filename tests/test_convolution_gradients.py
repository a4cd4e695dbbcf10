"""The gradients of convolutions that XLA compiles to fast code on CPUs, compared with JAX's own."""

import json

import pytest
from model_cases import run_python

# In a separate process for the backend. float64; odd and even windows, strides and image sizes.
GRADIENTS = """
import itertools, json, sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import cifarzoo, keras
from cifarzoo.keras_internals.convolution_gradients import canonical_convolutions

random = np.random.default_rng(0)

def results(images, kernel, **options):
    def total(images, kernel):
        return jnp.sin(keras.ops.conv(images, kernel, **options)).sum()
    return jax.value_and_grad(total, (0, 1))(images, kernel)

def worst(images, kernel, **options):
    images, kernel = (jnp.asarray(random.normal(size=shape)) for shape in (images, kernel))
    expected = results(images, kernel, **options)
    with canonical_convolutions():
        found = results(images, kernel, **options)
    return max(float(abs(a - b).max()) for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found)))

plain = [
    worst((2, 9, 8, 3), (window, window, 3, 4), strides=stride, padding=padding)
    for window, stride, padding in itertools.product([1, 3, 4], [1, 2, (3, 1)], ["same", "valid"])
]
others = [
    worst((2, 8, 8, 4), (3, 3, 2, 4), padding="same"),  # two groups
    worst((2, 8, 8, 4), (3, 3, 4, 4), padding="same", dilation_rate=2),
    worst((2, 4, 8, 8), (3, 3, 4, 4), padding="same", data_format="channels_first"),
]
print(json.dumps([len(plain), max(plain), max(others)]))
"""

# The orders of dimensions of the convolutions that a compiled loop's body contains.
ORDERS = """
import json, re
import jax, jax.numpy as jnp
import cifarzoo, keras
from cifarzoo.keras_internals.convolution_gradients import canonical_convolutions

def loss(x, kernels):
    return jax.lax.scan(lambda x, k: (keras.ops.conv(x, k, padding="same"), None), x, kernels)[0].sum()

def orders():
    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(jnp.ones((2, 8, 8, 4)), jnp.ones((5, 3, 3, 4, 4))).compile()
    return sorted(set(re.findall(r"dim_labels=(\\w+->\\w+)", compiled.as_text())))

own = orders()
with canonical_convolutions():
    print(json.dumps([own, orders()]))
"""


@pytest.mark.slow
def test_gradients_are_those_of_jax():
    count, plain, others = json.loads(run_python(GRADIENTS, backend="jax").splitlines()[-1])
    assert count == 18
    assert plain < 1e-11 and others < 1e-11


@pytest.mark.slow
def test_no_other_order_is_left_in_loops():
    """The fast kernel takes [n, h, w, c] and [h, w, in, out]; JAX's own gradients also use another order."""
    own, canonical = json.loads(run_python(ORDERS, backend="jax").splitlines()[-1])
    assert canonical == ["b01f_01io->b01f"]
    assert len(own) > 1
