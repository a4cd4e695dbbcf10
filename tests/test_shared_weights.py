"""Which models share weight files: training-only arguments, special cases, descriptions, files by path."""

import dataclasses
import logging

import h5py
import numpy as np
import pytest
from model_cases import CASES, QUICK, fill, pixels, run_python

import cifarzoo
from cifarzoo.errors import ModelError, WeightsError
from cifarzoo.models import registry
from cifarzoo.models.catalogue import catalogue, identity
from cifarzoo.models.registry import build_described, create_model
from cifarzoo.pretrained.arrays import layers_with_weights
from cifarzoo.pretrained.description import Description, description_of, read_description, save_weights
from cifarzoo.pretrained.loading import initialize, load_file

# A value besides the default for every argument that only affects training.
OTHER_VALUES = {
    "dropout": 0.3,
    "stage": "reinforce",
    "computation_cost": 0.01,
    "shake_drop_mask": "batch",
    "ghost_batch_size": 2,
}
SMALLEST = {
    "wide_resnet": ("cifar_wide_resnet", {"depth": 10, "width": 1}),
    "resnet9": ("cifar_resnet9", {}),
    "pyramidnet": ("cifar_pyramidnet110_a48", {"shake_drop": True}),
    "skipnet": ("cifar_skipnet38", {}),
}
SPECIAL_CASES = {
    "resnet": ("cifar_resnet20", "cifar_resnet164"),
    "resnext": ("cifar_resnext29_32x4d",),
    "shake_shake": ("cifar_shake_shake26_2x32d",),
}
TRAINING_ONLY = sorted({(record.family, name) for record in catalogue().values() for name in record.training_only})


def logits(model):
    return np.asarray(model(pixels().astype("float32"), training=False))


def filled(name, **arguments):
    model = create_model(name, **arguments)
    fill(model)
    return model


def saved(model, path):
    save_weights(model, path)
    return path


def shapes(model):
    return {path: [tuple(w.shape) for w in layer.weights] for path, layer in layers_with_weights(model).items()}


# ------------------------------------------------------------------------------------- training-only arguments


@pytest.mark.parametrize(
    ("family", "argument"),
    [pytest.param(*case, marks=[pytest.mark.slow] if case[0] == "pyramidnet" else []) for case in TRAINING_ONLY],
)
@pytest.mark.slow
def test_training_only_arguments_leave_variables_and_inference_unchanged(family, argument, tmp_path):
    name, arguments = SMALLEST[family]
    other = arguments | {argument: OTHER_VALUES[argument]}
    plain, changed = filled(name, **arguments), create_model(name, **other)
    assert shapes(plain) == shapes(changed)
    path = saved(plain, tmp_path / "plain.weights.h5")
    load_file(changed, path)
    np.testing.assert_array_equal(logits(changed), logits(plain))
    back = create_model(name, load_weights=saved(changed, tmp_path / "changed.weights.h5"), **arguments)
    np.testing.assert_array_equal(logits(back), logits(plain))


def test_all_other_arguments_are_part_of_the_identity():
    shaping = {name for record in catalogue().values() for name in record.arguments if name not in record.training_only}
    assert shaping >= {
        *("block_type", "shortcut_type", "stem", "activation", "pooling", "scale"),
        *("depth", "width", "shake_drop", "gate"),
    }


def test_training_only_names_arguments():
    def cifar_misspelt(dropout=0.0, **options):
        """A model."""

    with pytest.raises(ModelError, match="cifar_misspelt: training_only has drop_out, which is not an argument"):
        registry.register("A paper", 2015, training_only=("drop_out",))(cifar_misspelt)


# ------------------------------------------------------------------------------------- special cases


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "cifar_wrn_16_4" else [pytest.mark.slow])
        for name, record in catalogue().items()
        # The factories of a family pass their arguments to one function; a few of them stand for all.
        if record.special_case_of and (record.family not in SPECIAL_CASES or name in SPECIAL_CASES[record.family])
    ],
)
def test_special_cases_are_the_same_network(name, tmp_path):
    general, arguments = identity(name, {})
    assert general == catalogue()[name].special_case_of[0]
    special, other = filled(name), create_model(general, **arguments)
    assert shapes(special) == shapes(other) and description_of(special).identity == description_of(other).identity
    load_file(other, saved(special, tmp_path / "special.weights.h5"))
    np.testing.assert_array_equal(logits(other), logits(special))


def test_identity():
    assert identity("cifar_wrn_28_10", {"dropout": 0.3}) == identity("cifar_wide_resnet", {})
    assert identity("cifar_wrn_26_10", {}) == identity("cifar_wide_resnet", {"depth": 22})
    pyramid = identity("cifar_shakedrop_pyramidnet272_a200", {"shake_drop_mask": "batch"})
    assert pyramid == identity("cifar_pyramidnet272_a200", {"shake_drop": True})
    assert pyramid != identity("cifar_pyramidnet272_a200", {})


def test_new_arguments_leave_earlier_descriptions_valid():
    assert identity("cifar_resnet20", {"block_type": "original"}) == identity("cifar_resnet20", {"shortcut_type": "A"})
    assert identity("cifar_resnet20", {"from_a_newer_version": 1}) != identity("cifar_resnet20", {})
    assert identity("cifar_unknown", {"depth": 1}) == ("cifar_unknown", {"depth": 1})


# ------------------------------------------------------------------------------------- descriptions


def test_description_survives_the_file(tmp_path):
    description = Description(
        factory="cifar_resnet20",
        arguments={"block_type": "original", "shortcut_type": "A"},
        classes=10,
        statistics="cifar10",
        dataset="mine",
        source="https://example.org/weights",
    )
    save_weights(create_model("cifar_resnet20"), tmp_path / "a.weights.h5", description)
    assert read_description(tmp_path / "a.weights.h5") == description
    assert description.version == cifarzoo.__version__
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_files_of_equal_weights_are_equal(tmp_path):
    model = filled("cifar_resnet20")
    one, other = saved(model, tmp_path / "one.weights.h5"), saved(model, tmp_path / "other.weights.h5")
    assert one.read_bytes() == other.read_bytes()


BATCH = {"normalization": "batch", "normalization_groups": 8}
WRN_OF_THE_PAPER = {
    "strided_padding": "symmetric",
    "stride_in": "conv1",
    "shortcut_from": "activation",
    "projection_size": 1,
    "use_bias": False,
    **BATCH,
}


def test_factories_describe_their_models():
    model = create_model("cifar_wide_resnet", depth=10, width=1, classes=100, classifier_activation="softmax")
    assert description_of(model) == Description(
        factory="cifar_wide_resnet",
        arguments={"depth": 10, "width": 1, "dropout": 0.0, **WRN_OF_THE_PAPER},
        classes=100,
        activation="softmax",
        statistics="cifar100",
    )
    bare = description_of(create_model("cifar_resnet20", include_top=False, include_preprocessing=False))
    assert (bare.classes, bare.statistics) == (None, None)


def test_damaged_descriptions(tmp_path):
    path = saved(create_model("cifar_resnet20"), tmp_path / "a.weights.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["cifarzoo"] = "nonsense"
    with pytest.raises(WeightsError, match="a.weights.h5: the attribute 'cifarzoo' is not a description"):
        create_model("cifar_resnet20", load_weights=path)
    with pytest.raises(WeightsError, match="b.h5: the name of a weight file ends in .weights.h5"):
        save_weights(create_model("cifar_resnet20"), tmp_path / "b.h5")


# ------------------------------------------------------------------------------------- files by path


@pytest.mark.parametrize("describe", [True, False])
def test_original_blocks_do_not_load_into_preactivated_ones(tmp_path, describe, caplog):
    model = filled("cifar_resnet20", shortcut_type="A")
    path = tmp_path / "v1.weights.h5"
    if describe:
        save_weights(model, path)
        problem = r"v1.weights.h5: contains cifar_resnet20\(block_type='original', .*block_type='preactivated'"
    else:
        model.save_weights(path)
        problem = "v1.weights.h5: does not fit cifar_resnet20: the file has no layer final_bn"
    with pytest.raises(WeightsError, match=problem) as failure:
        create_model("cifar_resnet20", block_type="preactivated", load_weights=path)
    assert "\n" not in str(failure.value)


def test_files_without_description_load_with_a_warning(tmp_path, caplog):
    model = filled("cifar_resnet20")
    model.save_weights(tmp_path / "bare.weights.h5")
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        other = create_model("cifar_resnet20", load_weights=tmp_path / "bare.weights.h5")
    assert "bare.weights.h5: does not say what it contains; only layer names and shapes are compared" in caplog.text
    np.testing.assert_array_equal(logits(other), logits(model))
    with pytest.raises(WeightsError, match="bare.weights.h5: does not say what it contains; call the model's factory"):
        cifarzoo.load(tmp_path / "bare.weights.h5")


def test_networks_of_equal_layers_are_told_apart_by_the_description(tmp_path):
    """Neither names nor shapes tell these apart."""
    path = saved(filled("cifar_resnet9"), tmp_path / "a.weights.h5")
    with pytest.raises(WeightsError, match=r"a.weights.h5: contains .*pooling='after'.*, not .*pooling='before'"):
        create_model("cifar_resnet9", pooling="before", load_weights=path)
    with pytest.raises(WeightsError, match=r"a.weights.h5: contains .*activation='relu'.*, not .*activation='celu'"):
        create_model("cifar_resnet9", activation="celu", load_weights=path)
    pyramid = saved(filled("cifar_pyramidnet110_a48"), tmp_path / "b.weights.h5")
    with pytest.raises(WeightsError, match="contains .*shake_drop=False.*, not .*shake_drop=True"):
        create_model("cifar_pyramidnet110_a48", shake_drop=True, load_weights=pyramid)


WRN = {"depth": 10, "width": 1}


@pytest.mark.parametrize(
    ("factory", "arguments", "other"),
    [
        ("cifar_resnet", {"strided_padding": "same"}, {"strided_padding": "symmetric"}),
        ("cifar_resnet", {"bottleneck": True, "depth": 11}, {"bottleneck": False, "depth": 8}),
        ("cifar_shake_shake", {"depth": 8, "width": 2, "block_type": "postactivated"}, {"block_type": "original"}),
        ("cifar_wide_resnet", WRN | {"strided_padding": "same"}, {"strided_padding": "symmetric"}),
        ("cifar_wide_resnet", WRN | {"stride_in": "conv2"}, {"stride_in": "conv1"}),
        ("cifar_wide_resnet", WRN | {"shortcut_from": "input"}, {"shortcut_from": "activation"}),
    ],
)
def test_other_graphs_are_told_apart(factory, arguments, other, tmp_path):
    path = saved(filled(factory, **arguments), tmp_path / "a.weights.h5")
    assert description_of(create_model(factory, load_weights=path)) == read_description(path)
    with pytest.raises(WeightsError, match=rf"a.weights.h5: contains {factory}\(.*, not {factory}\("):
        create_model(factory, load_weights=path, **other)


def test_hidden_layers_belong_to_the_top(tmp_path, caplog):
    model = filled("cifar_vgg11", hidden_layers=2)
    path = saved(model, tmp_path / "a.weights.h5")
    tuned = create_model("cifar_vgg11", classes=3, load_weights=path)
    np.testing.assert_array_equal(*(np.asarray(net.get_layer("hidden2").kernel) for net in (model, tuned)))
    bare = create_model("cifar_vgg11", include_top=False, load_weights=path)
    assert not any("hidden" in layer.name for layer in bare.layers)
    again = create_model("cifar_vgg11", load_weights=saved(bare, tmp_path / "bare.weights.h5"))
    np.testing.assert_array_equal(*(np.asarray(net.get_layer("group5_conv2").kernel) for net in (model, again)))
    with pytest.raises(WeightsError, match=r"contains .*hidden_layers=2.*, not cifar_vgg11\(classes=10\)"):
        create_model("cifar_vgg11", hidden_layers=0, load_weights=path)
    x = np.asarray(bare(pixels()))[:, 0, 0]
    for name in ("hidden1", "hidden2", "logits"):
        kernel, bias = model.get_layer(name).get_weights()
        x = x @ kernel + bias
        x = x if name == "logits" else np.maximum(x, 0)
    np.testing.assert_allclose(logits(model), x, rtol=1e-4, atol=1e-4)


def test_arguments_that_are_left_out_are_those_of_the_file(tmp_path):
    path = saved(filled("cifar_wide_resnet", depth=10, width=1, dropout=0.1, classes=7), tmp_path / "a.weights.h5")
    assert description_of(create_model("cifar_wide_resnet", load_weights=path)) == read_description(path)
    again = create_model("cifar_wide_resnet", width=1, classes=3, load_weights=path)
    assert again.output_shape == (None, 3) and description_of(again).arguments["depth"] == 10
    with pytest.raises(WeightsError, match="contains .*depth=10, width=1.*, not .*depth=10, width=2"):
        create_model("cifar_wide_resnet", width=2, load_weights=path)
    with pytest.raises(WeightsError, match="contains cifar_wide_resnet.*, not cifar_wrn_16_4"):
        create_model("cifar_wrn_16_4", load_weights=path)


def test_a_tag_is_enough():
    tag = "resnet20_v2_cifar10_brief_s0"
    expected = {"block_type": "preactivated", "shortcut_type": "A", "strided_padding": "symmetric"} | BATCH
    model = create_model(tag)
    assert description_of(model).arguments == expected
    for other in (cifarzoo.cifar_resnet20(load_weights=tag), cifarzoo.load(tag)):
        np.testing.assert_array_equal(logits(other), logits(model))
    fresh = create_model(tag, load_weights=False)
    assert description_of(fresh).arguments == expected and not np.array_equal(logits(fresh), logits(model))
    assert create_model(tag, classes=3).output_shape == (None, 3)
    for build in (create_model, lambda tag, **arguments: cifarzoo.cifar_resnet20(load_weights=tag, **arguments)):
        with pytest.raises(WeightsError, match=f"{tag}: contains .*'preactivated'.*, not .*'original'"):
            build(tag, block_type="original")
    with pytest.raises(WeightsError, match=f"{tag}: contains cifar_resnet20.*, not cifar_resnet32"):
        cifarzoo.cifar_resnet32(load_weights=tag)


def test_missing_weights_name_the_nearest_two():
    for load_weights in (True, "wrn_28_10_cifar10"):
        with pytest.raises(WeightsError, match="for cifar_wrn_28_10 there is nothing yet") as failure:
            cifarzoo.cifar_wrn_28_10(load_weights=load_weights)
        assert str(failure.value).count("_s0 (") == 2 and "\n" not in str(failure.value)
    with pytest.raises(WeightsError, match="for cifar_resnet20 there is resnet20_v[12]_.*; resnet20_v[12]_"):
        cifarzoo.cifar_resnet20(load_weights="resnet20_v2_cifar10_long_s0")


def test_another_head_takes_the_backbone(tmp_path, caplog):
    model = filled("cifar_resnet20")
    path = saved(model, tmp_path / "ten.weights.h5")
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        tuned = create_model("cifar_resnet20", classes=37, load_weights=str(path))
    assert f"backbone from {path} (10 classes), fresh classifier for 37 classes" in caplog.text
    bare = create_model("cifar_resnet20", include_top=False, load_weights=path)
    for other in (tuned, bare):
        layer = "stage3_block3_conv2"
        np.testing.assert_array_equal(other.get_layer(layer).get_weights()[0], model.get_layer(layer).get_weights()[0])
    headless = saved(bare, tmp_path / "bare.weights.h5")
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        create_model("cifar_resnet20", load_weights=headless)
    assert "(no classifier), fresh classifier for 10 classes" in caplog.text
    with pytest.raises(
        WeightsError, match=r"contains cifar_resnet20\(.*classes=10\), not cifar_resnet20\(.*classes=37"
    ):
        load_file(create_model("cifar_resnet20", classes=37), path)


def test_statistics_come_from_the_file_or_are_refused(tmp_path):
    path = saved(filled("cifar_resnet20"), tmp_path / "ten.weights.h5")
    hundred = create_model("cifar_resnet20", classes=100, load_weights=path)
    assert description_of(hundred).statistics == "cifar10"
    features = create_model("cifar_resnet20", include_top=False, load_weights=saved(hundred, tmp_path / "h.weights.h5"))
    assert description_of(features).statistics == "cifar10"
    hundred = saved(filled("cifar_resnet20", classes=100), tmp_path / "hundred.weights.h5")
    features = create_model("cifar_resnet20", include_top=False, load_weights=hundred)
    assert description_of(features).statistics == "cifar100"
    description = dataclasses.replace(read_description(path), statistics="cifar100")
    save_weights(filled("cifar_resnet20"), path, description)
    with pytest.raises(WeightsError, match="input normalized by cifar100; asked for input normalized by cifar10"):
        load_file(create_model("cifar_resnet20"), path)
    outside = saved(filled("cifar_resnet20", include_preprocessing=False), tmp_path / "outside.weights.h5")
    with pytest.raises(WeightsError, match="with no normalization; asked for input normalized by cifar10"):
        create_model("cifar_resnet20", load_weights=outside)


def test_other_statistics_come_from_the_file_or_are_refused(tmp_path):
    values = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    path = saved(filled("cifar_resnet20", statistics=((1, 2, 3), (4, 5, 6))), tmp_path / "a.weights.h5")
    assert read_description(path).statistics == values
    for model in (cifarzoo.load(path), create_model("cifar_resnet20", classes=3, load_weights=path)):
        assert description_of(model).statistics == values
        np.testing.assert_allclose(model.get_layer("normalization").offset, [-1 / 4, -2 / 5, -3 / 6], rtol=1e-6)
    load_file(create_model("cifar_resnet20", statistics=values), path)
    numbers = r"mean \(1, 2, 3\) and deviation \(4, 5, 6\) on 0-255"
    with pytest.raises(WeightsError, match=f"normalized by {numbers}; asked for input normalized by kuangliu"):
        create_model("cifar_resnet20", statistics="kuangliu", load_weights=path)
    with pytest.raises(ModelError, match="cifar_resnet20: statistics: 'kuang' is not one of cifar10"):
        create_model("cifar_resnet20", statistics="kuang", load_weights=path)


def test_unknown_statistics_of_a_file(tmp_path):
    path = tmp_path / "a.weights.h5"
    for statistics in ("newer", {"mean": [1.0], "std": [1.0]}):
        save_weights(
            create_model("cifar_resnet20"),
            path,
            Description(factory="cifar_resnet20", classes=10, statistics=statistics),
        )
        for build in (cifarzoo.load, lambda path: create_model("cifar_resnet20", load_weights=path)):
            with pytest.raises(WeightsError, match="a.weights.h5: .*statistics: ") as failure:
                build(path)
            assert "\n" not in str(failure.value)


def test_saved_models_with_other_statistics_are_refused(tmp_path):
    model = filled("cifar_resnet20", statistics="lasagne")
    path = str(tmp_path / "a.keras")
    model.save(path)
    np.testing.assert_array_equal(logits(cifarzoo.load(path)), logits(model))
    again = create_model("cifar_resnet20", statistics="lasagne", load_weights=path)
    np.testing.assert_array_equal(logits(again), logits(model))
    with pytest.raises(WeightsError, match="with another normalization of the input"):
        create_model("cifar_resnet20", load_weights=path)


def test_softmax_heads(tmp_path):
    """Logits may get an activation; weights of a softmax head do not, unless the caller says so."""
    model = filled("cifar_resnet20", classifier_activation="softmax")
    path = saved(model, tmp_path / "softmax.weights.h5")
    with pytest.raises(WeightsError, match="whose outputs are not logits; .*pass classifier_activation='softmax'"):
        create_model("cifar_resnet20", load_weights=path)
    again = create_model("cifar_resnet20", load_weights=path, classifier_activation="softmax")
    np.testing.assert_array_equal(logits(again), logits(model))
    plain = saved(filled("cifar_resnet20"), tmp_path / "logits.weights.h5")
    soft = create_model("cifar_resnet20", load_weights=plain, classifier_activation="softmax")
    np.testing.assert_allclose(logits(soft).sum(-1), 1, rtol=1e-5)


def test_weights_that_are_not_finite(tmp_path):
    model = filled("cifar_resnet20")
    kernel = model.get_layer("stem_conv").kernel
    kernel.assign(np.where(np.arange(kernel.shape[-1]) == 3, np.nan, kernel.numpy()))
    path = saved(model, tmp_path / "nan.weights.h5")
    with pytest.raises(WeightsError, match="nan.weights.h5: .*layer stem_conv has weights that are not finite"):
        create_model("cifar_resnet20", load_weights=path)


def test_keras_files(tmp_path, caplog):
    model = filled("cifar_resnet9", ghost_batch_size=2)
    path = tmp_path / "model.keras"
    model.save(path)
    for other in (create_model("cifar_resnet9", load_weights=path), cifarzoo.load(path)):
        np.testing.assert_allclose(logits(other), logits(model), rtol=1e-5)
    create_model("cifar_resnet9", classes=3, load_weights=path)
    for arguments, problem in (
        ({"activation": "celu"}, "with other outputs"),
        ({"classifier_activation": "softmax"}, "with other outputs"),
        ({"scale": False}, "layer stem_bn has shapes"),
        ({"classes": 100}, "another normalization"),
    ):
        with pytest.raises(WeightsError, match=f"model.keras: .*{problem}"):
            create_model("cifar_resnet9", load_weights=path, **arguments)
    with pytest.raises(WeightsError, match="no.keras: no such saved model"):
        create_model("cifar_resnet9", load_weights=tmp_path / "no.keras")


# ------------------------------------------------------------------------------------- cifarzoo.load


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in (*QUICK, CASES[9]) else [pytest.mark.slow]) for case in CASES],
    ids=str,
)
def test_load_builds_what_the_file_describes(case, tmp_path):
    model = case.build(classes=7)
    fill(model)
    loaded = cifarzoo.load(saved(model, tmp_path / "a.weights.h5"))
    assert description_of(loaded) == description_of(model)
    np.testing.assert_array_equal(logits(loaded), logits(model))


def test_load_says_what_it_cannot(tmp_path):
    with pytest.raises(WeightsError, match="nonsense: neither a .weights.h5 or .keras file nor published weights"):
        cifarzoo.load("nonsense")
    with pytest.raises(WeightsError, match="no.weights.h5: no such weight file"):
        cifarzoo.load(tmp_path / "no.weights.h5")
    model, path = create_model("cifar_resnet20"), tmp_path / "a.weights.h5"
    save_weights(model, path, Description(factory="cifar_of_tomorrow", classes=10))
    with pytest.raises(WeightsError, match="cifar_of_tomorrow.*, which this version does not build .*unknown model"):
        cifarzoo.load(path)
    assert str(Description(function="own_model", classes=7)) == "own_model(classes=7)"
    save_weights(model, path, Description(module="my_net", function="net", classes=10))
    with pytest.raises(WeightsError, match=r"contains my_net.net\(classes=10\), which is not in the zoo"):
        cifarzoo.load(path)


# ------------------------------------------------------------------------------------- models of one's own


def own_model(classes=3):
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(classes)]
    return keras.Sequential(layers)


def test_own_models_load_by_order_where_names_differ(tmp_path):
    """Keras numbers the layers that have no name, differently in each process."""
    first, second = own_model(), own_model()
    assert [layer.name for layer in first.layers] != [layer.name for layer in second.layers]
    path = tmp_path / "own.weights.h5"
    save_weights(first, path, Description(module="my_net", function="net", classes=3))
    load_file(second, path)
    np.testing.assert_array_equal(logits(first), logits(second))
    with pytest.raises(WeightsError, match="own.weights.h5: contains my_net.net.*, not cifar_resnet20"):
        create_model("cifar_resnet20", load_weights=path)


def test_own_models_start_from_files_of_other_classes(tmp_path, caplog):
    def named(classes, filters=4):
        import keras

        layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(filters, 3, name="conv"), keras.layers.Flatten()]
        return keras.Sequential([*layers, keras.layers.Dense(classes, name="out")])

    first = named(3)
    save_weights(first, tmp_path / "own.weights.h5", Description(module="my_net", function="net", classes=3))
    second = named(5)
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        initialize(second, tmp_path / "own.weights.h5", build_described)
    assert "own.weights.h5 (3 classes), fresh classifier for 5 classes" in caplog.text
    np.testing.assert_array_equal(second.layers[0].get_weights()[0], first.layers[0].get_weights()[0])
    with pytest.raises(
        WeightsError, match=r"layer conv has shapes \(3, 3, 3, 4\), \(4,\) instead of \(3, 3, 3, 6\), \(6,\)"
    ):
        initialize(named(3, filters=6), tmp_path / "own.weights.h5", build_described)
    with pytest.raises(WeightsError, match="own.weights.h5: does not fit .*: the file has no layer conv2d") as failure:
        initialize(own_model(classes=7), tmp_path / "own.weights.h5", build_described)
    assert "\n" not in str(failure.value)


def test_experiments_start_from_tags_and_from_files_of_other_classes(tmp_path, caplog):
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training.build import build_model

    tag, layer = "resnet20_v2_cifar10_brief_s0", "stage3_block3_conv2"
    blocks = {"block_type": "preactivated"}
    trained = cifarzoo.load(tag)
    path, keras_file = saved(trained, tmp_path / "a.weights.h5"), tmp_path / "a.keras"
    trained.save(keras_file)
    for start in (tag, str(path), str(keras_file)):
        experiment = Experiment(model="cifar_resnet20", model_parameters=blocks, dataset="cifar100", init_weights=start)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "cifarzoo"):
            model = build_model(experiment, 100, 0)
        assert "fresh classifier for 100 classes" in caplog.text and model.output_shape == (None, 100)
        assert description_of(model).statistics == "cifar100"
        np.testing.assert_array_equal(
            model.get_layer(layer).get_weights()[0], trained.get_layer(layer).get_weights()[0]
        )
        other = experiment.model_copy(update={"model_parameters": {}})
        with pytest.raises(WeightsError, match="contains|has no layer|does not fit"):
            build_model(other, 100, 0)
    experiment = experiment.model_copy(update={"init_weights": "nonsense"})
    with pytest.raises(WeightsError, match="nonsense: neither a .weights.h5 or .keras file nor published weights"):
        build_model(experiment, 100, 0)


def test_runs_describe_their_weights(tmp_path):
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training.build import build_model, copy_model
    from cifarzoo.training.run_files import describe

    experiment = Experiment(model="cifar_resnet20", dataset="synthetic")
    model = copy_model(build_model(experiment, classes=10, seed=0), seed=0)
    save_weights(model, tmp_path / "a.weights.h5", describe(experiment, model))
    description = read_description(tmp_path / "a.weights.h5")
    assert (description.factory, description.dataset, description.classes) == ("cifar_resnet20", "synthetic", 10)
    experiment = Experiment(model="tiny_cnn", module="tiny_models", model_parameters={"dropout": 0.1})
    description = describe(experiment, build_model(experiment, classes=10, seed=0))
    assert str(description) == "tiny_models.tiny_cnn(dropout=0.1, classes=10)" and description.identity is None


def test_show_prints_the_description(tmp_path):
    path = saved(create_model("cifar_wide_resnet", depth=10, width=1), tmp_path / "a.weights.h5")
    output = run_python(
        "import sys; from cifarzoo.cli import main; sys.argv[0] = 'cifarzoo'; main()", "show", str(path)
    )
    assert output.startswith(
        "cifar_wide_resnet(depth=10, width=1, dropout=0.0, classes=10)\ninput: normalized by cifar10"
    )


def test_texts_show_variants_that_are_not_the_usual_ones():
    arguments = {"depth": 10, "width": 1, "dropout": 0.0, "stride_in": "conv1", "shortcut_from": "input"}
    assert str(Description(factory="cifar_wide_resnet", arguments=arguments, classes=10)) == (
        "cifar_wide_resnet(depth=10, width=1, dropout=0.0, shortcut_from='input', classes=10)"
    )
