"""Networks with GroupNormalization, layer normalization or none: what they compute, and what they refuse."""

import contextlib

import keras
import numpy as np
import pytest
from model_cases import fill, pixels
from test_gradients import assert_equal_weights, train

from cifarzoo.conversion.to_torch import torch_layout
from cifarzoo.data import load
from cifarzoo.errors import ModelError, WeightsError
from cifarzoo.keras_internals.fast_group_norm import fast_group_normalization
from cifarzoo.models.normalization import BATCH, Normalization
from cifarzoo.models.registry import create_model
from cifarzoo.pretrained.description import description_of, save_weights

SMALL = {
    "cifar_resnet": {"depth": 8},
    "cifar_wide_resnet": {"depth": 10, "width": 1},
    "cifar_vgg11": {},
    "cifar_resnet18": {},
}
KINDS = ("group", "layer", "none")


def small(normalization, name="cifar_resnet", **options):
    return create_model(name, **SMALL[name], normalization=normalization, **options)


def kinds(model):
    return {type(layer) for layer in model.layers if "Normalization" in type(layer).__name__}


def group_norm(x, groups, gamma, beta, epsilon):
    """Wu and He's formula in NumPy, float64; x is [n, h, w, c]."""
    parts = x.astype(np.float64).reshape(*x.shape[:3], groups, -1)
    mean, variance = parts.mean((1, 2, 4), keepdims=True), parts.var((1, 2, 4), keepdims=True)
    return ((parts - mean) / np.sqrt(variance + epsilon)).reshape(x.shape) * gamma + beta


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("normalization", KINDS)
def test_layers(name, normalization):
    usual, model = small("batch", name), small(normalization, name)
    count = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in usual.layers)
    groups = [layer.groups for layer in model.layers if isinstance(layer, keras.layers.GroupNormalization)]
    assert groups == {"group": [8] * count, "layer": [1] * count, "none": []}[normalization]
    assert kinds(model) == ({keras.layers.GroupNormalization} if groups else set())
    assert not [layer.name for layer in model.layers if "bn" in layer.name]
    biases = [layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all(biases) if normalization == "none" or "vgg" in name else not any(biases)
    assert np.isfinite(np.asarray(model(pixels()))).all()


@pytest.mark.parametrize("groups", [2, 8, 16])
def test_group_normalization_is_the_formula(groups):
    model = small("group", normalization_groups=groups)
    fill(model)
    layer = model.get_layer("stage2_block1_gn1")
    before, after = keras.Model(model.input, [layer.input, layer.output])(pixels().astype("float32"))
    expected = group_norm(np.asarray(before), groups, *(np.asarray(w) for w in layer.weights), 1e-5)
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-4)


def test_pytorch_computes_the_same():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(2).normal(5, 3, (3, 7, 7, 16)).astype("float32")
    gamma, beta = np.random.default_rng(3).normal(1, 0.5, (2, 16)).astype("float32")
    for kind, groups in (("group", 8), ("layer", 1)):
        inputs = keras.Input(x.shape[1:])
        model = keras.Model(inputs, Normalization(kind)(inputs, name="bn"))
        model.layers[-1].set_weights([gamma, beta])
        channels_first = torch.from_numpy(x.transpose(0, 3, 1, 2))
        expected = torch.nn.functional.group_norm(
            channels_first, groups, torch.from_numpy(gamma), torch.from_numpy(beta)
        )
        np.testing.assert_allclose(model(x), expected.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_bfloat16_takes_statistics_in_float32():
    """A large mean and a small deviation: statistics in bfloat16 would round the deviation away."""
    x = np.random.default_rng(2).normal(20, 0.5, (2, 8, 8, 16))
    inputs = keras.Input(x.shape[1:])
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = keras.Model(inputs, Normalization("group")(inputs, name="bn"))
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = model(x.astype("float32"))
    assert outputs.dtype == "bfloat16" and {w.dtype for w in model.weights} == {"float32"}
    expected = group_norm(x.astype("float32"), 8, 1, 0, 1e-5)
    assert np.abs(np.asarray(keras.ops.cast(outputs, "float32")) - expected).max() < 0.02


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12), ("mixed_bfloat16", 0.02)])
def test_the_fast_path_is_keras_own(dtype, tolerance):
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(4)
    x = tf.constant(3 + 2 * random.normal(size=(4, 6, 5, 12)), "float64" if dtype == "float64" else "float32")
    upstream = tf.constant(random.normal(size=x.shape), x.dtype)
    layer = keras.layers.GroupNormalization(4, epsilon=1e-5, dtype=dtype)
    layer.build(x.shape)
    layer.set_weights(random.uniform(0.5, 1.5, (2, 12)))
    found = []
    for context in (fast_group_normalization(), contextlib.nullcontext()):
        with context, tf.GradientTape() as tape:
            narrow = tf.cast(x, "bfloat16") if "bfloat16" in dtype else x
            tape.watch(narrow)
            y = layer(narrow)
            variables = [variable.value for variable in layer.trainable_variables]
        found.append([y, *tape.gradient(y, [narrow, *variables], tf.cast(upstream, y.dtype))])
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        theirs = tf.cast(theirs, "float64").numpy()
        assert np.abs(tf.cast(ours, "float64") - theirs).max() <= tolerance * np.abs(theirs).max()


def test_images_do_not_affect_each_other():
    images = pixels()
    for kind in KINDS:
        model = small(kind)
        fill(model)
        together = np.asarray(model(images, training=True))
        alone = np.concatenate([model(images[i : i + 1], training=True) for i in range(len(images))])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(together, model(images, training=False), rtol=1e-5, atol=1e-6)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    whole, parts = (train({"channel_groups": 4}, model="tiny_cnn", accumulate=k) for k in (1, 4))
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-12)
    assert_equal_weights(whole[0], parts[0], 1e-9)


def test_without_normalization_a_block_starts_as_its_shortcut():
    model = create_model("cifar_resnet", depth=20, normalization="none")
    for stage in (1, 2, 3):
        for block in (1, 2, 3):
            name = f"stage{stage}_block{block}"
            assert not np.any(model.get_layer(f"{name}_conv2").kernel)
            kernel = np.asarray(model.get_layer(f"{name}_conv1").kernel)
            # Fixup's rule 2 for nine branches of two convolutions: He's deviation over the root of 9.
            np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * kernel.shape[-1])) / 3, rtol=0.06)
    bottlenecks = create_model("cifar_resnet", depth=20, bottleneck=True, normalization="none")
    assert not np.any(bottlenecks.get_layer("stage2_block1_conv3").kernel)
    for block in ("conv1", "conv2"):
        kernel = np.asarray(bottlenecks.get_layer(f"stage3_block2_{block}").kernel)
        fan_out = kernel.shape[0] * kernel.shape[1] * kernel.shape[-1]
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / fan_out) / 6**0.25, rtol=0.1)


def test_resnet20_without_normalization_starts_to_learn():
    """64 images of 16x16, by heart. With BatchNormalization it takes a fifth of the steps."""
    tf = pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(1)
    model = create_model("cifar_resnet20", normalization="none", image_size=16)
    split = load("synthetic").train
    images, labels = tf.constant(split.images[:64, ::2, ::2]), split.labels[:64]
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, [v.value for v in variables]), variables, strict=True))
        return loss

    losses = [float(step()) for _ in range(60)]
    assert losses[0] < 2.5 and losses[-1] < 0.8 * losses[0], losses


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "cifar_resnet20",
            {"normalization": "instance"},
            "normalization must be 'batch' or 'group' or 'layer' or 'none'",
        ),
        ("cifar_resnet20", {"normalization": None}, "normalization must be .*, got None"),
        ("cifar_vgg11", {"normalization": "group", "normalization_groups": 0}, "must be a positive integer, got 0"),
        ("cifar_vgg11", {"normalization": "group", "normalization_groups": 1}, "got 1, which is normalization='layer'"),
        (
            "cifar_resnet20",
            {"normalization": "group", "normalization_groups": 12},
            "cifar_resnet20: normalization_groups must divide the channels of every layer, got 12 for 16 channels",
        ),
        (
            "cifar_wrn_16_4",
            {"normalization_groups": 16},
            "normalization_groups=16 needs normalization='group', got normalization='batch'",
        ),
        ("cifar_resnet18", {"groups": 8}, "groups is called normalization_groups here"),
        ("cifar_resnet18", {"norm_layer": "group"}, "norm_layer is called normalization here"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ModelError, match=message):
        create_model(name, **arguments)


def test_weights_of_another_normalization_are_refused(tmp_path):
    path = tmp_path / "group.weights.h5"
    model = small("group")
    save_weights(model, path)
    with pytest.raises(
        WeightsError, match=r"contains cifar_resnet\(.*normalization='group'.*, not cifar_resnet\(depth=8"
    ):
        small("batch", load_weights=path)
    for other in ({"normalization": "layer"}, {"normalization": "group", "normalization_groups": 4}):
        with pytest.raises(WeightsError, match="contains cifar_resnet"):
            create_model("cifar_resnet", depth=8, **other, load_weights=path)
    with pytest.raises(WeightsError, match=r"normalization='group'.*: no published weights"):
        create_model("cifar_resnet20", normalization="group", load_weights=True)
    completed = create_model("cifar_resnet", load_weights=path)
    assert description_of(completed) == description_of(model)


def test_saved_models_open_with_keras_alone(tmp_path):
    for kind in KINDS:
        model = small(kind)
        fill(model)
        model.save(tmp_path / f"{kind}.keras")
        assert not [layer for layer in model.layers if type(layer).__module__.startswith("cifarzoo")]
        loaded = keras.saving.load_model(tmp_path / f"{kind}.keras")
        np.testing.assert_array_equal(loaded(pixels()), model(pixels()))


def test_batch_normalization_is_the_default():
    assert Normalization() == BATCH
    assert description_of(create_model("cifar_resnet20")) == description_of(
        create_model("cifar_resnet20", normalization="batch")
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("group", "layer stem_gn is a GroupNormalization that other projects' networks lack"),
        ("layer", "layer stem_ln is a GroupNormalization that other projects' networks lack"),
        ("none", "torchvision has BatchNormalization"),
    ],
)
def test_pytorch_code_has_no_such_network(kind, message):
    model = create_model("cifar_resnet", depth=8, shortcut_type="B", normalization=kind)
    with pytest.raises(WeightsError, match=message):
        torch_layout(model, description_of(model))


@pytest.mark.parametrize("kind", ["group", "none"])
def test_repeated_blocks_run_as_a_loop(kind):
    tf = pytest.importorskip("tensorflow")
    from cifarzoo.keras_internals.block_loops import RepeatedBlock, find_repeats
    from cifarzoo.keras_internals.fast_paths import fast_paths

    model = create_model("cifar_resnet", depth=80, normalization=kind, image_size=8, include_top=False)
    fill(model)
    for weight in model.weights:  # keeps the sum of 39 branches in range
        weight.assign(0.5 * weight)
    assert any(isinstance(part, RepeatedBlock) for part in find_repeats(model))
    images = tf.constant(pixels()[:, ::4, ::4].astype("float32"))
    expected = np.asarray(model(images))
    with fast_paths(model, training=True):
        looped = np.asarray(tf.function(lambda x: model(x, training=True))(images))
    np.testing.assert_allclose(looped, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
