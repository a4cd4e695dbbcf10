"""Structure of all families except plain ResNets: the papers' figures, and messages about bad arguments."""

import keras
import numpy as np
import pytest

from cifarzoo.data.statistics import patch_covariance
from cifarzoo.errors import ModelError
from cifarzoo.layers import ShakeDrop, ShakeShake
from cifarzoo.models.pyramidnet import pyramid_widths
from cifarzoo.models.registry import create_model, get


def layers(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def names(model, ending):
    return [layer.name for layer in model.layers if layer.name.endswith(ending)]


@pytest.mark.parametrize("depth, convolutions", [(11, 8), (13, 10), (16, 13), (19, 16)])
def test_vgg(depth, convolutions):
    model = create_model(f"cifar_vgg{depth}", include_top=False)
    assert len(layers(model, keras.layers.Conv2D)) == convolutions == depth - 3
    assert all(layer.use_bias for layer in layers(model, keras.layers.Conv2D))
    pooled = [layer.output.shape[1:] for layer in layers(model, keras.layers.MaxPooling2D)]
    assert pooled == [(16, 16, 64), (8, 8, 128), (4, 4, 256), (2, 2, 512), (1, 1, 512)]


def test_wide_resnet():
    model = create_model("cifar_wide_resnet", depth=16, width=2)
    assert names(model, "_projection") == [f"stage{i}_block1_projection" for i in (1, 2, 3)]
    for stage in (1, 2, 3):
        projection = model.get_layer(f"stage{stage}_block1_projection")
        assert projection.input.name == model.get_layer(f"stage{stage}_block1_relu1").output.name
        assert projection.kernel_size == (1, 1)
    assert len(layers(model, keras.layers.Conv2D)) - 3 == 16 - 3
    assert not layers(model, keras.layers.Dropout)
    with_dropout = create_model("cifar_wide_resnet", depth=16, width=2, dropout=0.3)
    assert [layer.rate for layer in layers(with_dropout, keras.layers.Dropout)] == [0.3] * 6
    assert with_dropout.get_layer("stage1_block1_conv2").input.name == (
        with_dropout.get_layer("stage1_block1_dropout").output.name
    )


def test_resnext():
    model = create_model("cifar_resnext29_32x4d", include_top=False)
    grouped = [layer for layer in layers(model, keras.layers.Conv2D) if layer.groups > 1]
    assert [layer.groups for layer in grouped] == [32] * 9
    assert [layer.filters for layer in grouped] == [128] * 3 + [256] * 3 + [512] * 3
    assert names(model, "_projection") == [f"stage{i}_block1_projection" for i in (1, 2, 3)]
    assert len(layers(model, keras.layers.Conv2D)) - 3 == 29 - 1


def test_resnet18():
    model = create_model("cifar_resnet18")
    assert names(model, "_projection") == [f"stage{i}_block1_projection" for i in (2, 3, 4)]
    assert model.get_layer("stem_conv").strides == (1, 1)
    assert len(layers(model, keras.layers.Conv2D)) - 3 + 1 == 18


def test_resnet9_whitens_patches():
    """The fixed filters make the patches' covariance diagonal, close to one except for the faintest patterns."""
    model = create_model("cifar_resnet9", stem="whitening", include_top=False)
    layer = model.get_layer("whitening")
    assert not layer.trainable_weights and layer.kernel.shape == (3, 3, 3, 27)
    filters = keras.ops.convert_to_numpy(layer.kernel).reshape(27, 27)
    covariance = patch_covariance("cifar10")
    values = np.linalg.eigvalsh(covariance)[::-1]
    np.testing.assert_allclose(filters.T @ covariance @ filters, np.diag(values / (values + 0.01)), atol=1e-5)
    assert values[0] > 10 > 0.1 > values[-1] > 0
    assert model.get_layer("stem_conv").kernel.shape == (1, 1, 27, 64)


def test_resnet9_pools_before_normalizing():
    model = create_model("cifar_resnet9", pooling="before", activation="celu", include_top=False)
    for stage in (1, 2, 3):
        pool = model.get_layer(f"stage{stage}_pool")
        assert pool.input.name == model.get_layer(f"stage{stage}_conv").output.name
        assert model.get_layer(f"stage{stage}_bn").input.name == pool.output.name
    assert not layers(model, keras.layers.ReLU)
    assert model.count_params() == create_model("cifar_resnet9", include_top=False).count_params()


def test_resnet9_with_smooth_activations_of_normalized_values():
    model = create_model("cifar_resnet9", activation="celu", scale=False, include_preprocessing=False)
    assert not [w.path for w in model.weights if w.path.endswith("gamma")]
    assert model.get_layer("scaled_logits").scale == 1 / 16
    x = np.random.RandomState(0).randn(2, 32, 32, 3).astype("float32")
    activated = model.get_layer("stage1_conv").input
    normal, smooth = keras.Model(model.input, [model.get_layer("stem_bn").output, activated]).predict(x, verbose=0)
    assert normal.min() < -0.6
    np.testing.assert_allclose(smooth, np.where(normal > 0, normal, 0.3 * np.expm1(normal / 0.3)), atol=1e-6)


def test_resnet9_scales_its_logits_before_the_activation():
    model = create_model("cifar_resnet9", classifier_activation="softmax")
    assert model.get_layer("scaled_logits").scale == 0.125
    assert model.get_layer("logits").activation is keras.activations.linear
    assert not model.get_layer("logits").use_bias
    assert len(layers(model, keras.layers.Conv2D)) + len(layers(model, keras.layers.Dense)) == 9


def test_shake_shake():
    model = create_model("cifar_shake_shake26_2x32d")
    assert len(layers(model, ShakeShake)) == 12
    assert names(model, "_shortcut_bn") == [f"stage{i}_block1_shortcut_bn" for i in (1, 2, 3)]
    assert len(layers(model, keras.layers.Conv2D)) == 1 + 12 * 4 + 3 * 2
    branches = [branch.name for branch in model.get_layer("stage1_block2_shake").input]
    assert branches == [model.get_layer(f"stage1_block2_branch{i}_bn2").output.name for i in (1, 2)]


def test_shake_shake_second_path_sees_the_image_moved_by_one_pixel():
    model = create_model("cifar_shake_shake26_2x32d", include_top=False)
    relu = model.get_layer("stage2_block1_shortcut_relu").output
    moved = model.get_layer("stage2_block1_shortcut_conv2").input
    source, target = keras.Model(model.input, [relu, moved])(keras.random.uniform((1, 32, 32, 3), 0, 255, seed=1))
    source, target = source.numpy(), target.numpy()
    np.testing.assert_array_equal(target[:, :-1, :-1], source[:, 1:, 1:])
    assert not target[:, -1].any() and not target[:, :, -1].any()


@pytest.mark.parametrize("alpha", [48, 84, 200, 270])
def test_pyramid_widths_grow_linearly_and_round_half_up(alpha):
    blocks = 54
    exact = 16 + alpha * np.arange(1, blocks + 1) / blocks
    widths = pyramid_widths(blocks, alpha)
    assert widths == [int(np.floor(width + 0.5)) for width in exact]
    assert widths[-1] == 16 + alpha
    assert pyramid_widths(4, 2) == [17, 17, 18, 18]  # 16.5 and 17.5 go up


def test_pyramidnet():
    model = create_model("cifar_pyramidnet110_a48")
    assert len(layers(model, keras.layers.Conv2D)) + len(layers(model, keras.layers.Dense)) == 110
    assert not names(model, "_projection") and not layers(model, ShakeDrop)
    assert len(layers(model, keras.layers.AveragePooling2D)) == 2
    assert model.get_layer("stage3_block18_conv2").filters == 64


def test_shake_drop_keeps_less_with_depth():
    model = create_model("cifar_pyramidnet110_a48", shake_drop=True, shake_drop_mask="batch")
    keep = [layer.keep for layer in layers(model, ShakeDrop)]
    np.testing.assert_allclose(keep, 1 - 0.5 * np.arange(1, 55) / 54)
    assert {layer.mask for layer in layers(model, ShakeDrop)} == {"batch"}


@pytest.mark.parametrize(
    "alias, name",
    [
        ("WRN_40_4", "cifar_wrn_40_4"),
        ("cifar_WRN_40_4", "cifar_wrn_40_4"),
        ("wrn26_10", "cifar_wrn_28_10"),
        ("wrn26_6_ss", "cifar_shake_shake26_2x96d"),
        ("pyramid", "cifar_shakedrop_pyramidnet272_a200"),
        ("pyramid_skip", "cifar_pyramid_skipnet272_a200"),
    ],
)
def test_spellings_of_other_systems(alias, name):
    assert get(alias).name == name


@pytest.mark.parametrize(
    "model, arguments, message",
    [
        ("cifar_wide_resnet", {"depth": 27}, r"cifar_wide_resnet: depth must be 6 n \+ 4 .*, got 27"),
        ("cifar_wide_resnet", {"depth": 4}, r"depth must be 6 n \+ 4 .*, got 4"),
        ("cifar_wide_resnet", {"width": -1}, "width must be a positive integer, got -1"),
        ("cifar_wide_resnet", {"width": 2.5}, "width must be a positive integer, got 2.5"),
        ("cifar_wrn_40_2", {"dropout": 1}, "cifar_wrn_40_2: dropout must be a probability below 1, got 1"),
        ("cifar_pyramidnet110_a48", {"shake_drop": 0.5}, "shake_drop must be True or False, got 0.5"),
        (
            "cifar_pyramidnet110_a48",
            {"shake_drop_mask": "pixel"},
            "shake_drop_mask must be 'image' or 'batch', got 'pixel'",
        ),
        ("cifar_skipnet38", {"gate": "none"}, "gate must be 'recurrent' or 'feed_forward', got 'none'"),
        ("cifar_skipnet38", {"stage": "hybrid"}, "stage must be 'supervised' or 'reinforce', got 'hybrid'"),
        ("cifar_skipnet38", {"computation_cost": -1}, "computation_cost must be a number of at least 0, got -1"),
    ],
)
def test_bad_arguments(model, arguments, message):
    with pytest.raises(ModelError, match=message):
        create_model(model, **arguments)
