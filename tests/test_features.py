"""`cifarzoo.features`: the same names in every family, and the tensors that they mean."""

import keras
import numpy as np
import pytest
import tiny_models

import cifarzoo
from cifarzoo.errors import ModelError
from cifarzoo.inference.features import feature_tensors

# Per network: what stem and stages end with; None where a SkipNet adds block and shortcut without a layer.
FAMILIES = {
    "vgg": (
        lambda: cifarzoo.cifar_vgg11(),
        ["group1_relu1", "group1_pool", "group2_pool", "group3_pool", "group4_pool", "group5_pool"],
        "group5_pool",
    ),
    "vgg_hidden": (
        lambda: cifarzoo.cifar_vgg13(hidden_layers=1, normalization="none"),
        ["group1_relu1", "group1_pool", "group2_pool", "group3_pool", "group4_pool", "group5_pool"],
        "group5_pool",
    ),
    "resnet": (
        lambda: cifarzoo.cifar_resnet(depth=14),
        ["stem_relu", "stage1_block2_relu2", "stage2_block2_relu2", "stage3_block2_relu2"],
        "stage3_block2_relu2",
    ),
    "resnet_preactivated": (
        lambda: cifarzoo.cifar_resnet(depth=11, bottleneck=True, block_type="preactivated", shortcut_type="B"),
        ["stem_size", "stage1_block1_add", "stage2_block1_add", "stage3_block1_add"],
        "final_relu",
    ),
    "resnet18": (
        lambda: cifarzoo.cifar_resnet18(),
        ["stem_relu", *(f"stage{k}_block2_relu2" for k in range(1, 5))],
        "stage4_block2_relu2",
    ),
    "resnet8": (
        lambda: cifarzoo.cifar_resnet8(),
        ["stem_relu", *(f"stage{k}_block1_relu2" for k in range(1, 4))],
        "stage3_block1_relu2",
    ),
    "pyramidnet": (
        lambda: tiny_models.tiny_pyramidnet(shake_drop=True),
        ["stem_bn", *(f"stage{k}_block1_add" for k in range(1, 4))],
        "final_relu",
    ),
    "resnext": (
        lambda: cifarzoo.cifar_resnext(depth=20, cardinality=2, base_width=4),
        ["stem_relu", *(f"stage{k}_block2_relu3" for k in range(1, 4))],
        "stage3_block2_relu3",
    ),
    "wide_resnet": (
        lambda: cifarzoo.cifar_wide_resnet(depth=10, width=1, shortcut_from="input"),
        ["stem_size", *(f"stage{k}_block1_add" for k in range(1, 4))],
        "final_relu",
    ),
    "shake_shake": (
        lambda: tiny_models.tiny_shake_shake(),
        ["stem_bn", *(f"stage{k}_block4_add" for k in range(1, 4))],
        "final_relu",
    ),
    "skipnet": (lambda: tiny_models.tiny_skipnet(), ["stem_relu", None, None, None], "features"),
    "pyramid_skipnet": (lambda: tiny_models.tiny_pyramid_skipnet(), ["stem_bn", None, None, None], "final_relu"),
    "resnet9": (
        lambda: cifarzoo.cifar_resnet9(stem="whitening", pooling="before"),
        ["stem_size", "stage1_residual_add", "stage2_relu", "stage3_residual_add"],
        "stage3_residual_add",
    ),
    "airbench": (
        lambda: cifarzoo.cifar_airbench94(),
        ["stem_gelu", *(f"group{k}_unit2_gelu" for k in range(1, 4))],
        "group3_unit2_gelu",
    ),
}


def test_every_family_of_the_zoo_is_here():
    from cifarzoo.models.catalogue import catalogue

    families = {record.family for record in catalogue().values()}
    assert families <= set(FAMILIES), "add the new family to FAMILIES"


@pytest.mark.parametrize("family", FAMILIES)
def test_names_mean_the_same_in_every_family(family):
    build, ends, last = FAMILIES[family]
    model = build()
    tensors = feature_tensors(model)
    stages = [f"stage{number}" for number in range(1, len(ends))]
    assert list(tensors) == ["stem", *stages, "features", "pooled", "logits"]
    for name, layer in zip(["stem", *stages], ends, strict=True):
        assert layer is None or tensors[name] is model.get_layer(layer).output
    assert tensors["features"] is model.get_layer(last).output
    assert tensors["pooled"] is model.get_layer("pool").output and tensors["logits"] is model.output
    sides = [tensors[name].shape[1] for name in ["stem", *stages, "features"]]
    assert sides == sorted(sides, reverse=True)


def test_a_skipnets_stages_are_sums_of_blocks_and_shortcuts():
    """The second stage of SkipNet-14 in NumPy, from the first."""
    model = tiny_models.tiny_skipnet()
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("float32")
    maps = cifarzoo.features(model)(images)
    stage1 = maps["stage1"]
    gates = keras.Model(model.input, [model.get_layer(f"stage2_block{k}_gate").output for k in (1, 2)])(images)
    shortcut = model.get_layer("stage2_block1_shortcut")(stage1)
    run = model.get_layer("stage2_block1")([stage1, shortcut])
    first, second = (np.asarray(gate)[:, None, None] for gate in gates)
    middle = first * np.asarray(run) + (1 - first) * np.asarray(shortcut)
    run = model.get_layer("stage2_block2")([middle, middle])
    expected = second * np.asarray(run) + (1 - second) * middle
    np.testing.assert_allclose(maps["stage2"], expected, atol=1e-4)


def test_the_result_is_a_model_with_the_same_weights():
    model = cifarzoo.cifar_resnet8()
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    maps = cifarzoo.features(model, ["stage2", "logits"]).predict(images, verbose=0)
    assert set(maps) == {"stage2", "logits"} and maps["stage2"].shape == (5, 16, 16, 32)
    np.testing.assert_allclose(maps["logits"], model.predict(images, verbose=0), atol=1e-5)
    assert list(cifarzoo.features(model, "pooled").output) == ["pooled"]


def test_models_without_top_and_saved_ones(tmp_path):
    model = cifarzoo.cifar_resnet8(include_top=False)
    tensors = feature_tensors(model)
    assert list(tensors) == ["stem", "stage1", "stage2", "stage3", "features"]
    assert tensors["features"] is tensors["stage3"] is model.output
    model.save(tmp_path / "headless.keras")
    assert list(cifarzoo.features(tmp_path / "headless.keras").output) == list(tensors)


@pytest.mark.parametrize(
    ("build", "outputs", "message"),
    [
        (cifarzoo.cifar_resnet8, ["stage4"], "the outputs are stem, .*, logits, got stage4"),
        (cifarzoo.cifar_resnet8, [], "got none"),
        (tiny_models.tiny_cnn, None, "has no stages that are known by name; .* take the outputs of layers"),
    ],
)
def test_mistakes_are_one_line(build, outputs, message):
    with pytest.raises(ModelError, match=message):
        cifarzoo.features(build(), outputs)
