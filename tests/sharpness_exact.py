"""Compare estimates with the exact Hessian, Fisher and NTK of a small network: `python sharpness_exact.py OUT.json`.

The full matrices come from the backend's own autodiff of a loss written out here, in float64, with nothing of
`cifarzoo.evaluation.sharpness`; the estimates come from there.
"""

import json
import sys

import keras
import numpy as np

CLASSES, IMAGES, CHUNK = 4, 37, 8


def network(outputs=CLASSES, activation=None):
    """Build a network of 408 trainable parameters with convolutions, non-trivial BatchNormalization, tanh and ReLU."""
    from keras import layers

    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 3, strides=2)(inputs)
    x = layers.Activation("tanh")(layers.BatchNormalization(name="norm")(x))
    x = layers.Dropout(0.5)(layers.ReLU()(layers.Conv2D(8, 2, use_bias=False)(x)))
    model = keras.Model(inputs, layers.Dense(outputs, activation=activation, name="logits")(layers.Flatten()(x)))
    # The same on every backend, whose initializers draw other numbers.
    random = np.random.default_rng(7)
    model.set_weights([0.4 * random.normal(size=w.shape) for w in model.get_weights()])
    norm = model.get_layer("norm")
    norm.set_weights(
        [np.linspace(0.5, 1.5, 6), np.linspace(-1, 1, 6), np.linspace(-0.3, 0.4, 6), np.linspace(0.5, 2, 6)]
    )
    return model


def float64_network():
    before = keras.config.floatx(), keras.config.dtype_policy()
    try:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        return network()
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def toy_dataset():
    """Return images to train on, and the first 20 of them to test on."""
    from cifarzoo.data import Dataset, Split

    split = Split(*data())
    return Dataset("toy", tuple("abcd"), None, split, split.take(slice(0, 20)))


def data():
    random = np.random.default_rng(0)
    return random.normal(size=(IMAGES, 6, 6, 3)), random.integers(0, CLASSES, IMAGES)


def exact(model, images, labels):
    """Return the Hessians [P, P] of both losses and the Fisher, and the NTK's trace, as means over images."""
    return (_exact_jax if keras.backend.backend() == "jax" else _exact_tensorflow)(model, images, labels)


def _exact_jax(model, images, labels):
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    flat, rebuild = ravel_pytree([v.value for v in model.trainable_variables])
    others = [v.value for v in model.non_trainable_variables]

    def logits(w):
        return model.stateless_call(rebuild(w), others, images, training=False)[0]

    def cross_entropy(w):
        z = logits(w)
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - z[jnp.arange(len(labels)), labels])

    def squared(w):
        return jnp.mean(0.5 * jnp.sum((logits(w) - jnp.eye(CLASSES)[labels]) ** 2, axis=1))

    jacobian = np.asarray(jax.jacrev(logits)(flat))
    hessians = [np.asarray(jax.hessian(f)(flat)) for f in (cross_entropy, squared)]
    return *hessians, *_fisher_and_ntk(jacobian, np.asarray(logits(flat)))


def _exact_tensorflow(model, images, labels):
    import tensorflow as tf

    variables = [v.value for v in model.trainable_variables]

    def flat(parts, rows):
        return np.concatenate([np.asarray(p).reshape(rows, -1) for p in parts], axis=1)

    def hessian(loss):
        with tf.GradientTape(persistent=True) as outer:
            with tf.GradientTape() as inner:
                value = tf.reduce_mean(loss(model(images, training=False)))
            gradient = tf.concat([tf.reshape(g, [-1]) for g in inner.gradient(value, variables)], 0)
        parts = outer.jacobian(gradient, variables, unconnected_gradients="zero", experimental_use_pfor=False)
        return flat(parts, len(gradient))

    with tf.GradientTape(persistent=True) as tape:
        z = model(images, training=False)
        ravelled = tf.reshape(z, [-1])
    parts = tape.jacobian(ravelled, variables, experimental_use_pfor=False)
    jacobian = flat(parts, len(ravelled)).reshape(len(images), CLASSES, -1)
    targets = tf.one_hot(labels, CLASSES, dtype=z.dtype)
    cross_entropy = hessian(lambda z: -tf.reduce_sum(targets * tf.nn.log_softmax(z), axis=1))
    squared = hessian(lambda z: 0.5 * tf.reduce_sum((z - targets) ** 2, axis=1))
    return cross_entropy, squared, *_fisher_and_ntk(jacobian, z.numpy())


def _fisher_and_ntk(jacobian, z):
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    spread = np.einsum("ic,cd->icd", p, np.eye(CLASSES)) - np.einsum("ic,id->icd", p, p)
    fisher = np.einsum("icp,icd,idq->pq", jacobian, spread, jacobian) / len(z)
    return fisher, float((jacobian**2).sum() / len(z))


def main(out):
    from cifarzoo.evaluation.sharpness import LossFunction, epsilon_sharpness, estimate_traces, largest_eigenvalue

    model, (images, labels) = network(), data()
    cross_entropy, squared, fisher, ntk = exact(model, images, labels)
    random = np.random.default_rng(5)
    found = {"parameters": len(cross_entropy), "losses": {}}
    for loss, hessian in (("cross_entropy", cross_entropy), ("squared", squared)):
        loss_function = LossFunction(model, images, labels, loss=loss, chunk=CHUNK)
        v = random.normal(size=loss_function.parameters)
        product = loss_function.hessian_vector(v)
        forms = sum(loss_function.quadratic_forms(v, c) * (c.stop - c.start) for c in loss_function.chunks) / IMAGES
        estimates = [estimate_traces(loss_function, precision=0.05, max_products=500, seed=seed) for seed in range(3)]
        eigenvalue = largest_eigenvalue(loss_function, precision=1e-4)
        found["losses"][loss] = {
            "product_error": float(np.abs(product - hessian @ v).max()),
            "form_errors": [forms[0] - v @ hessian @ v, forms[1] - v @ fisher @ v if loss == "cross_entropy" else 0],
            "exact": {
                "hessian_trace": float(np.trace(hessian)),
                "fisher_trace": float(np.trace(fisher)) if loss == "cross_entropy" else ntk,
                "ntk_trace": ntk,
            },
            "estimates": [{k: [e.value, e.standard_error, e.converged] for k, e in run.items()} for run in estimates],
            "eigenvalue": [eigenvalue.value, eigenvalue.standard_error, float(np.linalg.eigvalsh(hessian)[-1])],
            "eigenvector_error": float(
                np.abs(hessian @ eigenvalue.vector - eigenvalue.value * eigenvalue.vector).max()
            ),
            "epsilon_sharpness": epsilon_sharpness(loss_function).value,
        }
    with open(out, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    from cifarzoo.keras_internals.precision import arithmetic

    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    with arithmetic("float64"):
        main(sys.argv[1])
