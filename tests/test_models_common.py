"""The contract of every factory, tested on a small member of every family."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import CASES, assert_close, fill, pixels

from cifarzoo.data.statistics import mean_image
from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.model_graph import any_image_size, output_spec
from cifarzoo.models.registry import create_model


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def model(case):
    model = case.build()
    fill(model)
    return model


def test_takes_bytes_and_floats(model):
    images = pixels()
    logits = model(images).numpy()
    assert logits.dtype == np.float32 and logits.shape == (4, 10) and np.isfinite(logits).all()
    assert np.ptp(logits, axis=0).min() > 1e-3, "the logits do not depend on the image"
    np.testing.assert_array_equal(model(images.astype("float32")).numpy(), logits)


@pytest.mark.slow
def test_normalizes_inside(case, model):
    bare = case.build(include_preprocessing=False)
    fill(bare)
    images = pixels().astype("float64")
    mean = np.array([125.306918046875, 122.950394140625, 113.86538318359375])
    std = np.array([62.9932192781369, 62.0887076400142, 66.7048996406309])
    normalized = ((images - mean) / std).astype("float32")
    assert_close(bare(normalized), model(images))


@pytest.mark.parametrize("statistics", ["imagenet", "lasagne", ((0.5, 0.25, 0.5), (0.2, 0.1, 0.3))], ids=str)
def test_normalizes_with_statistics_by_name_or_value(statistics):
    model = create_model("cifar_wide_resnet", depth=10, width=1, statistics=statistics)
    mean, std = {
        "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        "lasagne": (mean_image() / 255, 1),
    }.get(statistics if isinstance(statistics, str) else "", statistics)
    images = pixels()
    found = keras.Model(model.inputs[0], model.get_layer("normalization").output)(images)
    np.testing.assert_allclose(found, (images / 255 - np.array(mean)) / np.array(std), atol=1e-5)


def test_every_variable_gets_a_gradient(case):
    keras.utils.set_random_seed(1)
    model = case.build()
    labels = np.arange(4)
    with tf.GradientTape() as tape:
        logits = model(pixels(), training=True)
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
    values = [weight.value for weight in model.trainable_weights]
    gradients = tape.gradient(loss, values)
    missing = [w.path for w, g in zip(model.trainable_weights, gradients, strict=True) if g is None]
    assert not missing
    zero = [w.path for w, g in zip(model.trainable_weights, gradients, strict=True) if not np.any(g)]
    assert not zero


@pytest.mark.slow
def test_takes_small_images_of_progressive_resizing(case, model):
    images = keras.KerasTensor((4, 16, 16, 3))
    with any_image_size(model):
        if case.model == "cifar_vgg11":  # halves an image five times
            with pytest.raises(ValueError, match="Negative dimension"):
                output_spec(model, images)
        else:
            assert output_spec(model, images).shape == (4, 10)
    with pytest.raises(ValueError, match="expected shape"):
        model(pixels()[:, :16, :16])


@pytest.mark.slow
def test_without_top_ends_with_the_feature_map(case, model):
    features = case.build(include_top=False)
    assert features.output_shape == (None, *case.features)
    backbone = [weight for weight in model.weights if not weight.path.startswith("logits/")]
    for weight, source in zip(features.weights, backbone, strict=True):
        weight.assign(source)
    images = pixels()
    pool, scale = {"cifar_resnet9": (np.max, 1 / 8), "cifar_airbench94": (np.max, 1 / 9)}.get(case.model, (np.mean, 1))
    pooled = pool(features(images).numpy(), axis=(1, 2))
    kernel, *bias = (weight.numpy() for weight in model.get_layer("logits").weights)
    logits = (pooled @ kernel + sum(bias)) * scale
    assert_close(logits, model(images))


@pytest.mark.slow
def test_other_number_of_classes(case):
    model = case.build(classes=37, classifier_activation="softmax", name="mine")
    probabilities = model(pixels()).numpy()
    assert model.name == "mine"
    assert probabilities.shape == (4, 37)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_mixed_precision_gives_float32_logits(case, model):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = case.build()
    finally:
        keras.config.set_dtype_policy("float32")
    fill(mixed)
    logits = mixed(pixels())
    assert logits.dtype == "float32"
    assert {weight.dtype for weight in mixed.trainable_weights} == {"float32"}
    if "skipnet" not in case.model:  # a gate near one half may decide otherwise
        reference = model(pixels()).numpy()
        assert np.corrcoef(np.ravel(logits), np.ravel(reference))[0, 1] > 0.95


@pytest.mark.parametrize("classes", [0, -1, 2.5, "10", True])
def test_refuses_other_classes(classes):
    with pytest.raises(ModelError, match="cifar_resnet20: classes is a positive whole number"):
        create_model("cifar_resnet20", classes=classes)
