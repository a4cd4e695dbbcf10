"""Structure of the residual networks: the papers' figures, and messages about bad arguments."""

import sys

import keras
import numpy as np
import pytest
from model_cases import fill, pixels

from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.model_building import fast_model_building
from cifarzoo.models.registry import create_model
from cifarzoo.models.resnet import blocks_per_stage, resnet


def layers(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def projections(model):
    return [layer.name for layer in model.layers if layer.name.endswith("_projection")]


def weighted_depth(model):
    """Convolutions and linear layers on the longest path: shortcuts do not count."""
    return len(layers(model, keras.layers.Conv2D)) - len(projections(model)) + len(layers(model, keras.layers.Dense))


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
@pytest.mark.parametrize("block_type", ["original", "preactivated"])
@pytest.mark.slow
def test_depth(depth, block_type):
    model = create_model(f"cifar_resnet{depth}", block_type=block_type, shortcut_type="B")
    assert weighted_depth(model) == depth
    assert len(layers(model, keras.layers.Add)) == (depth - 2) // 2


def test_bottleneck_depth():
    model = create_model("cifar_resnet164")
    assert weighted_depth(model) == 164
    assert len(layers(model, keras.layers.Add)) == 54


@pytest.mark.parametrize("block_type", ["original", "preactivated"])
def test_projections_only_where_the_shape_changes(block_type):
    with_projections = create_model("cifar_resnet20", block_type=block_type, shortcut_type="B")
    assert projections(with_projections) == ["stage2_block1_projection", "stage3_block1_projection"]
    normalized = [layer.name for layer in with_projections.layers if layer.name.endswith("_projection_bn")]
    assert len(normalized) == (2 if block_type == "original" else 0)
    assert projections(create_model("cifar_resnet20", block_type=block_type, shortcut_type="A")) == []


def test_bottleneck_widens_in_the_first_stage_too():
    assert projections(create_model("cifar_resnet164")) == [f"stage{i}_block1_projection" for i in (1, 2, 3)]


def test_original_order_ends_with_an_activation():
    original = create_model("cifar_resnet20", include_top=False)
    assert isinstance(original.layers[-1], keras.layers.ReLU)
    assert original.layers[-1].input.name == original.get_layer("stage3_block3_add").output.name


def test_preactivated_order_adds_without_activation():
    model = create_model("cifar_resnet20", block_type="preactivated")
    add = model.get_layer("stage2_block2_add")
    assert model.get_layer("stage2_block3_bn1").input.name == add.output.name
    assert model.get_layer("stage2_block3_add").input[0].name == add.output.name


def test_zero_padding_shortcut_appends_zeros_after_the_channels():
    model = create_model("cifar_resnet20", shortcut_type="A")
    shortcut = keras.Model(model.input, model.get_layer("stage2_block1_add").input[0])
    source = keras.Model(model.input, model.get_layer("stage1_block3_relu2").output)
    images = keras.random.uniform((2, 32, 32, 3), 0, 255, seed=1)
    out, x = keras.ops.convert_to_numpy(shortcut(images)), keras.ops.convert_to_numpy(source(images))
    assert out.shape == (2, 16, 16, 32)
    assert (out[..., :16] == x[:, ::2, ::2, :]).all()
    assert (out[..., 16:] == 0).all()


def test_layer_names_are_explicit():
    model = create_model("cifar_resnet20", shortcut_type="B")
    for layer in model.layers:
        assert layer.name in ("image", "normalization", "pool", "logits") or layer.name.startswith(("stem_", "stage"))


def with_keras_padding(layer):
    """Return a copy of a layer that pads as Keras does by itself."""
    config = layer.get_config()
    return type(layer).from_config(config | {"padding": "same"} if "padding" in config else config)


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("block_type", ["original", "preactivated"])
def test_same_padding_is_keras_own(block_type, bottleneck, monkeypatch):
    """Of the whole network: only strided convolutions could pad otherwise."""
    arguments = {"depth": 11 if bottleneck else 8, "bottleneck": bottleneck, "block_type": block_type}
    same, symmetric = (create_model("cifar_resnet", **arguments, strided_padding=p) for p in ("same", "symmetric"))
    fill(same), symmetric.set_weights(same.get_weights())
    own = keras.models.clone_model(same, clone_function=with_keras_padding)
    own.set_weights(same.get_weights())
    outputs = [np.asarray(model(pixels())) for model in (own, same, symmetric)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[2] - outputs[1]).max() > 1e-2 * np.abs(outputs[1]).max()
    assert not any(isinstance(layer, keras.layers.ZeroPadding2D) for layer in same.layers)


def test_networks_may_be_deeper_than_pythons_stack():
    """Original ResNet-1202 has 1,200 layers one after another even along its shortcuts."""
    limit = sys.getrecursionlimit()
    with fast_model_building():
        x = inputs = keras.Input((1,))
        for _ in range(max(limit, 1000) + 100):
            x = keras.layers.Activation("relu")(x)
        model = keras.Model(inputs, x)
    assert len(model.layers) == max(limit, 1000) + 101 and sys.getrecursionlimit() == limit


def test_original_bottlenecks_of_other_depths():
    model = create_model("cifar_resnet", depth=29, bottleneck=True, shortcut_type="B")
    assert weighted_depth(model) == 29
    assert projections(model) == [f"stage{i}_block1_projection" for i in (1, 2, 3)]
    assert model.get_layer("stage2_block1_conv2").strides == (2, 2)
    assert model.get_layer("stage2_block1_conv1").strides == (1, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"block_type": "bottleneck"},
            "cifar_resnet20: block_type must be 'original' or 'preactivated', got 'bottleneck'",
        ),
        ({"shortcut_type": "C"}, "cifar_resnet20: shortcut_type must be 'A' or 'B', got 'C'"),
        ({"strided_padding": "valid"}, "cifar_resnet20: strided_padding must be 'symmetric' or 'same', got 'valid'"),
        (
            {"depth": 20},
            "cifar_resnet20: got an unexpected keyword argument 'depth'; it takes block_type, shortcut_type",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ModelError, match=message):
        create_model("cifar_resnet20", **arguments)


@pytest.mark.parametrize(
    "depth, bottleneck, message",
    [
        (21, False, r"depth must be 6 n \+ 2 for n blocks per stage \(8, 14, 20, ...\), got 21"),
        (2, False, r"depth must be 6 n \+ 2 .*, got 2"),
        (20.0, False, r"depth must be 6 n \+ 2 .*, got 20.0"),
        (110, False, None),
        (110, True, None),
        (26, True, r"depth must be 9 n \+ 2 for n blocks per stage \(11, 20, 29, ...\), got 26"),
    ],
)
def test_depths_between_two_networks_are_refused(depth, bottleneck, message):
    layers_per_block = 3 if bottleneck else 2
    if message is None:
        assert 3 * layers_per_block * blocks_per_stage(depth, layers_per_block) + 2 == depth
        return
    with pytest.raises(ModelError, match=message):
        resnet(depth, "preactivated", "A", bottleneck)
