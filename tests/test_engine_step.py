"""One step of the TensorFlow engine against plain Keras: fused BatchNormalization, gradients, update."""

import contextlib

import keras
import numpy as np
import pytest

from cifarzoo.data import load
from cifarzoo.experiment.schema import Experiment
from cifarzoo.layers import GhostBatchNormalization
from cifarzoo.training.build import build_model

tf = pytest.importorskip("tensorflow")


@pytest.mark.parametrize(("axis", "scale"), [(-1, True), (-1, False), (1, True)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
def test_fused_batch_normalization_is_keras_own(axis, scale, dtype):
    from cifarzoo.keras_internals.fused_batch_norm import fused_batch_normalization

    random = np.random.RandomState(0)
    x = tf.constant(3 + 2 * random.randn(8, 6, 6, 6), "float64" if dtype == "float64" else "float32")
    ours, theirs = (
        keras.layers.BatchNormalization(axis=axis, scale=scale, momentum=0.8, dtype=dtype) for _ in range(2)
    )
    for layer in (ours, theirs):
        layer.build(x.shape)
        weights = np.random.RandomState(1)
        layer.set_weights([weights.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    tolerance = {"float32": 1e-5, "float64": 1e-12, "mixed_bfloat16": 0.05}[dtype]
    expected = theirs(x, training=True)
    with fused_batch_normalization():
        found = ours(x, training=True)
        np.testing.assert_allclose(
            tf.cast(found, "float64"), tf.cast(expected, "float64"), atol=tolerance, rtol=tolerance
        )
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=max(tolerance, 1e-5) if dtype != "float64" else 1e-12)
        inferred = ours(x, training=False)
    np.testing.assert_allclose(
        tf.cast(inferred, "float64"), tf.cast(theirs(x, training=False), "float64"), atol=tolerance, rtol=tolerance
    )


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.05)])
def test_fused_groups_are_the_layers_own(dtype, tolerance, scale):
    from cifarzoo.keras_internals.fused_batch_norm import fused_batch_normalization

    random = np.random.RandomState(0)
    x = tf.constant(3 + 2 * random.randn(8, 6, 6, 5), "float32")
    upstream = tf.constant(random.randn(8, 6, 6, 5), "float32")
    ours, theirs = (GhostBatchNormalization(4, scale=scale, momentum=0.8, dtype=dtype) for _ in range(2))
    found = []
    for layer, context in ((ours, fused_batch_normalization()), (theirs, contextlib.nullcontext())):
        layer.build(x.shape)
        weights = np.random.RandomState(1)
        layer.set_weights([weights.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        with context, tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            parameters = [v.value for v in layer.trainable_variables]
        found.append([y, *tape.gradient(y, [x, *parameters], tf.cast(upstream, y.dtype)), *layer.get_weights()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(tf.cast(a, "float64"), tf.cast(b, "float64"), atol=10 * tolerance, rtol=tolerance)


def test_one_step_is_what_keras_and_numpy_compute():
    """No augmentation; Keras' own BatchNormalization and automatic differentiation, the update in NumPy."""
    from cifarzoo.training.job import prepare

    dataset = load("synthetic")
    experiment = Experiment.model_validate(
        {
            "module": "tiny_models",
            "model": "tiny_cnn",
            "dataset": "synthetic",
            "augmentation": "none",
            "precision": "float64",
            "distribution": "none",
            "train_parameters": {"batch_size": 16, "nesterov": True, "weight_decay": 0.01, "steps_per_call": 1},
        }
    )
    engine = prepare(experiment, dataset).create_engine(0)
    reference = build_model(experiment, 10, 0)
    reference.set_weights(engine.model.get_weights())
    places = np.arange(16, dtype=np.int32)
    split = dataset.train
    with tf.GradientTape() as tape:
        logits = reference(split.images[places].astype("float64"), training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(split.labels[places], logits))
    variables = reference.trainable_variables
    gradients = [g.numpy() for g in tape.gradient(loss, [v.value for v in variables])]
    for variable, gradient in zip(variables, gradients, strict=True):
        w = variable.numpy()
        g = gradient + (0.01 * w if w.ndim > 1 else 0)
        variable.assign(w - 0.1 * (g + 0.9 * g))  # the first Nesterov step: the velocity is the gradient
    found = engine.train(0, places[None], np.array([0.1]))
    assert found["loss"] == pytest.approx(float(loss), rel=1e-12)
    assert found["gradient_norm"] == pytest.approx(np.sqrt(sum((g**2).sum() for g in gradients)), rel=1e-6)
    for a, b in zip(engine.model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_prediction_counts_every_image_once_in_order():
    """A split that is no multiple of the batch: the same logits as the model's own, none lost, none twice."""
    import dataclasses

    from cifarzoo.training.job import prepare

    dataset = load("synthetic")
    small = dataclasses.replace(dataset, test=dataset.test.take(np.arange(103)))
    experiment = Experiment.model_validate(
        {
            "module": "tiny_models",
            "model": "tiny_cnn",
            "dataset": "synthetic",
            "train_parameters": {"eval_batch_size": 25},
        }
    )
    engine = prepare(experiment, small).create_engine(0)
    logits = engine.predict("test")
    assert logits.shape == (103, 10)
    np.testing.assert_allclose(
        logits, engine.model(small.test.images.astype("float32"), training=False), rtol=1e-4, atol=1e-5
    )
