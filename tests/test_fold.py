"""Folded networks compute the same, are plain Keras models, and keep only the BatchNormalization that has to stay."""

import keras
import numpy as np
import pytest
from keras import layers
from model_cases import CASES, assert_close, pixels, run_python
from tiny_models import tiny_cnn, tiny_pyramidnet, tiny_skipnet

import cifarzoo
from cifarzoo.errors import ModelError
from cifarzoo.evaluation.evaluate import predict
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.inference.fold import fold_batch_norm
from cifarzoo.inference.network import pays_off
from cifarzoo.keras_internals.model_graph import all_layers, input_operations

LINEAR = (layers.Conv2D, layers.Dense)


def randomize(model, smallest_gamma=-0.5):
    """Set random weights, with statistics far from zero and one; activations stay near unit scale."""
    rng = np.random.default_rng(3)
    draw = {
        "gamma": lambda shape: rng.uniform(smallest_gamma, 1.5, shape),
        "beta": lambda shape: rng.normal(0, 0.3, shape),
        "moving_mean": lambda shape: rng.normal(0, 0.3, shape),
        "moving_variance": lambda shape: rng.uniform(0.2, 3, shape),
        "bias": lambda shape: rng.normal(0, 0.3, shape),
    }
    for weight in model.weights:
        if "seed" not in weight.name:
            kernel = np.sqrt(2 / max(1, np.prod(weight.shape[:-1])))
            weight.assign(draw.get(weight.name, lambda shape, k=kernel: rng.normal(0, k, shape))(weight.shape))
    return model


def normalizations(model):
    return [layer for layer in all_layers(model) if isinstance(layer, layers.BatchNormalization)]


def logits(model, images=None):
    images = pixels(3) if images is None else images
    return np.asarray(model(keras.ops.convert_to_tensor(images, "float32"), training=False))


# How many stay: one per block with an identity shortcut in pre-activated networks, the last one in PyramidNets, and one
# per block in those with basic blocks.
STAYS = {
    "cifar_resnet20-preactivated-A": 9,
    "cifar_resnet20-preactivated-B": 9,
    "basic pyramidnet": 4,
    "pyramidnet": 1,
}


# The deep ones at the smallest depth of their builders.
DEEP = ("cifar_pyramidnet110_a48", "cifar_skipnet38")
FAMILIES = {str(case): case.build for case in CASES if case.model not in DEEP} | {
    "basic pyramidnet": tiny_pyramidnet,
    "pyramidnet": lambda: tiny_pyramidnet(bottleneck=True, shake_drop=True),
    "skipnet": tiny_skipnet,
    "skipnet, feed forward": lambda: tiny_skipnet(gate="feed_forward", depth=8),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_the_same(family):
    model = randomize(FAMILIES[family]())
    before = [np.asarray(weight) for weight in model.weights]
    folded = fold_batch_norm(model)
    assert_close(logits(folded), logits(model), 1e-5)
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(weight))
    left = normalizations(folded)
    assert len(left) == STAYS.get(family, 0)
    behind = [type(operation) for layer in left for operation in input_operations(layer)]
    assert not set(behind) & set(LINEAR)
    names = {layer.name for layer in model.layers}
    assert {layer.name for layer in folded.layers} <= names
    # Only activations and gates are cifarzoo's, which Keras lacks.
    own = {type(layer).__name__ for layer in all_layers(folded) if "cifarzoo" in type(layer).__module__}
    assert own <= {"Gelu", "StraightThroughGate"}
    assert own or "cifarzoo" not in folded.to_json()


def test_numbers_of_a_convolution_are_those_of_the_formula():
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 1, name="conv")(inputs)
    model = randomize(keras.Model(inputs, layers.BatchNormalization(epsilon=0.1, name="bn")(x)))
    kernel, bias = model.get_layer("conv").get_weights()
    gamma, beta, mean, variance = model.get_layer("bn").get_weights()
    folded = fold_batch_norm(model)
    new_kernel, new_bias = folded.get_layer("conv").get_weights()
    deviation = np.sqrt(variance + 0.1)
    np.testing.assert_allclose(new_kernel, kernel * gamma / deviation, rtol=1e-5)
    np.testing.assert_allclose(new_bias, gamma * (bias - mean) / deviation + beta, rtol=1e-5, atol=1e-6)
    assert folded.count_params() == kernel.size + 3


def test_the_public_name():
    assert cifarzoo.fold_batch_norm is fold_batch_norm


def test_files_open_again(tmp_path):
    folded = fold_batch_norm(randomize(tiny_cnn(ghost_batch_size=2)))
    folded.save(tmp_path / "folded.keras")
    again = keras.saving.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(logits(again), logits(folded))
    assert not normalizations(again)


def pooled(pool):
    inputs = keras.Input((6, 6, 3))
    x = pool(layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, layers.BatchNormalization()(x))


def used_twice():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, padding="same")(inputs)
    return keras.Model(inputs, layers.Add()([x, layers.BatchNormalization()(x)]))


def called_twice():
    inputs = keras.Input((6, 6, 3))
    shared = layers.Conv2D(3, 3, padding="same")
    return keras.Model(inputs, layers.BatchNormalization()(shared(shared(inputs))))


def activated():
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(inputs)))


def before_padding():
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, layers.Conv2D(4, 3, padding="same")(layers.BatchNormalization()(inputs)))


def before_valid():
    inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization()(inputs)
    return keras.Model(inputs, [layers.Conv2D(4, 3, strides=2)(x), layers.Conv2D(5, 1)(x)])


def output_of_an_inner_layer():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3)(inputs)
    return keras.Model(inputs, [x, layers.BatchNormalization()(x)])


def depthwise():
    inputs = keras.Input((6, 6, 3))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(inputs)
    x = layers.Cropping2D(1)(layers.SpatialDropout2D(0.5)(layers.BatchNormalization()(x)))
    x = layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2)(x)))
    return keras.Model(inputs, layers.BatchNormalization(scale=False)(x))


def several_to_one():
    inputs = keras.Input((6, 6, 3))
    x = layers.Concatenate()([layers.Conv2D(2, 1)(inputs), layers.Conv2D(3, 1, use_bias=False)(inputs)])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Add()([layers.Conv2D(4, 3)(x), layers.Conv2D(4, 3)(x)])
    return keras.Model(inputs, layers.BatchNormalization(center=False)(layers.GlobalAveragePooling2D()(x)))


def sequential():
    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()])
    return keras.Sequential([keras.Input((6, 6, 3)), inner, layers.Flatten(), layers.Dense(4)])


@pytest.mark.parametrize(
    ("build", "smallest_gamma", "stays"),
    [
        (lambda: pooled(layers.MaxPooling2D()), 0.1, 0),
        (lambda: pooled(layers.MaxPooling2D()), -1.0, 1),
        (lambda: pooled(layers.GlobalMaxPooling2D()), 0.1, 0),
        (lambda: pooled(layers.AveragePooling2D(2)), -1.0, 0),
        (lambda: pooled(layers.GlobalAveragePooling2D()), -1.0, 0),
        (lambda: pooled(layers.ZeroPadding2D()), -1.0, 1),
        (used_twice, -1.0, 1),
        (called_twice, -1.0, 1),
        (activated, -1.0, 1),
        (before_padding, -1.0, 1),
        (before_valid, -1.0, 0),
        (output_of_an_inner_layer, -1.0, 1),
        (depthwise, -1.0, 0),
        (several_to_one, -1.0, 0),
        (sequential, -1.0, 0),
    ],
)
def test_normalization_is_folded_only_where_nothing_changes(build, smallest_gamma, stays):
    model = randomize(build(), smallest_gamma)
    images = np.random.default_rng(1).normal(size=(3, 6, 6, 3))
    folded = fold_batch_norm(model)
    assert len(normalizations(folded)) == stays
    for one, other in zip(keras.tree.flatten(folded(images)), keras.tree.flatten(model(images)), strict=True):
        assert_close(np.asarray(one), np.asarray(other), 1e-5)


def test_precision_stays():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny_cnn()
    finally:
        keras.config.set_dtype_policy(before)
    folded = fold_batch_norm(model)
    assert [layer.compute_dtype for layer in folded.layers if layer.weights] == ["bfloat16"] * 3
    assert {weight.dtype for weight in folded.weights} == {"float32"}


def test_other_models_are_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ModelError, match=r"takes functional and built Sequential models, got Own"):
        fold_batch_norm(Own())


def test_copies_normalize_their_input():
    inputs = keras.Input((6, 6, 3))
    normalization = layers.Normalization()
    model = keras.Model(inputs, layers.BatchNormalization()(layers.Conv2D(4, 3)(normalization(inputs))))
    images = np.random.default_rng(1).normal(5, 2, size=(3, 6, 6, 3)).astype("float32")
    normalization.adapt(images)
    assert_close(logits(fold_batch_norm(model), images), logits(model, images), 1e-5)


def test_many_images_are_measured_with_a_compiled_copy():
    loaded = LoadedModel(randomize(tiny_cnn()), "synthetic", "test")
    images = np.random.default_rng(2).integers(0, 256, (1100, 32, 32, 3), dtype=np.uint8)
    assert not pays_off(loaded.model, len(images))
    assert pays_off(loaded.model, 4_000)
    done = []
    outputs = predict(loaded.network(), images, 500, done.append)
    assert done == [1 / 3, 2 / 3, 1.0]
    assert outputs.shape == (1100, 10)
    assert_close(outputs, predict(loaded.model, images, 500), 1e-5)
    # The copy is made once for the same weights, and again for others.
    assert loaded.network() is loaded.network()
    loaded.model.set_weights([2 * value for value in loaded.model.get_weights()])
    other = predict(loaded.network(), images[:500], 500)
    assert_close(other, predict(loaded.model, images[:500], 500), 1e-5)
    assert np.abs(other - outputs[:500]).max() > 0.1


class Halved(layers.Conv2D):
    """A convolution whose output does not follow the scale of its kernel."""

    def call(self, inputs):
        return super().call(inputs) / keras.ops.sqrt(keras.ops.sum(keras.ops.square(self.kernel)))


def test_nothing_is_folded_into_subclasses():
    inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization()(Halved(4, 3)(inputs))
    model = randomize(keras.Model(inputs, Halved(5, 3)(layers.BatchNormalization()(layers.ReLU()(x)))))
    folded = fold_batch_norm(model)
    assert sum(isinstance(layer, layers.BatchNormalization) for layer in folded.layers) == 2
    images = np.random.default_rng(1).normal(size=(3, 6, 6, 3)).astype("float32")
    assert_close(logits(folded, images), logits(model, images), 1e-5)


def test_sums_that_broadcast_are_left_alone():
    inputs = keras.Input((6, 6, 3))
    x = layers.Add()([layers.Conv2D(4, 3)(inputs), layers.Conv2D(1, 3)(inputs)])
    model = randomize(keras.Model(inputs, layers.BatchNormalization()(x)))
    images = np.random.default_rng(1).normal(size=(3, 6, 6, 3)).astype("float32")
    assert_close(logits(fold_batch_norm(model), images), logits(model, images), 1e-5)


def test_own_layers_are_not_copied():
    class Own(layers.Layer):
        def call(self, inputs):
            return inputs

    inputs = keras.Input((6, 6, 3))
    assert not pays_off(keras.Model(inputs, Own()(inputs)), 4_000)
    assert pays_off(keras.Model(inputs, layers.Flatten()(inputs)), 4_000)


@pytest.mark.slow
def test_jax():
    code = """
import numpy as np
from model_cases import CASES, assert_close, fill, pixels
import cifarzoo
model = CASES[0].build()
fill(model)
images = pixels(2).astype("float32")
assert_close(np.asarray(cifarzoo.fold_batch_norm(model)(images)), np.asarray(model(images, training=False)), 1e-5)
print("equal")
"""
    assert run_python(code, backend="jax").endswith("equal\n")


def test_other_sizes_are_refused_as_before():
    folded = fold_batch_norm(CASES[0].build())
    with pytest.raises(Exception, match="32"):
        folded(np.zeros((2, 24, 24, 3), "float32"))
    assert [layer.name for layer in folded.layers[:5]] == [
        "image",
        "normalization",
        "stem_conv",
        "stem_relu",
        "stem_size",
    ]
