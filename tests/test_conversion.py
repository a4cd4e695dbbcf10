"""Other projects' weights in our models: equal logits, every array used once, and what does not fit is said."""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from cifarzoo.conversion.absorb import absorb_biases
from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.conversion.convert import convert
from cifarzoo.conversion.input_check import contradiction
from cifarzoo.conversion.layouts import LAYOUTS
from cifarzoo.conversion.match import match
from cifarzoo.conversion.names import translate
from cifarzoo.conversion.slots import slots_of
from cifarzoo.conversion.state import left_aside, state_of
from cifarzoo.errors import WeightsError
from cifarzoo.models.registry import create_model

pytest.importorskip("torch")
import foreign_networks as foreign
import torch

TORCHVISION = {
    "stem": "conv1",
    "stem_bn": "bn1",
    "conv": lambda s, b, i: f"layer{s}.{b - 1}.conv{i}",
    "bn": lambda s, b, i: f"layer{s}.{b - 1}.bn{i}",
    "projection": lambda s, b, part: f"layer{s}.{b - 1}.downsample.{part}",
    "logits": "fc",
}
KUANGLIU = TORCHVISION | {"projection": lambda s, b, part: f"layer{s}.{b - 1}.shortcut.{part}", "logits": "linear"}
AKAMASTER = {key: value for key, value in KUANGLIU.items() if key != "projection"} | {"zeros": "both"}
PYTORCHCV = {
    "stem": "features.init_block.conv",
    "stem_bn": "features.init_block.bn",
    "conv": lambda s, b, i: f"features.stage{s}.unit{b}.body.conv{i}.conv",
    "bn": lambda s, b, i: f"features.stage{s}.unit{b}.body.conv{i}.bn",
    "projection": lambda s, b, part: f"features.stage{s}.unit{b}.identity_conv.{('conv', 'bn')[part]}",
    "logits": "output",
}
CHAINERCV = {
    "stem": "features/init_block",
    "conv": lambda s, b, i: f"features/stage{s}/unit{b}/body/conv{i}/conv",
    "bn": lambda s, b, i: f"features/stage{s}/unit{b}/body/conv{i}/bn",
    "projection": lambda s, b: f"features/stage{s}/unit{b}/identity_conv",
    "final_bn": "features/post_activ/bn",
    "logits": "output/fc",
}
HENDRYCKS = {
    "stem": "conv1",
    "conv": lambda s, b, i: f"block{s}.layer.{b - 1}.conv{i}",
    "bn": lambda s, b, i: f"block{s}.layer.{b - 1}.bn{i}",
    "projection": lambda s, b: f"block{s}.layer.{b - 1}.convShortcut",
    "final_bn": "bn1",
    "logits": "fc",
}

FAST_AUTOAUGMENT = {
    "stem": "conv1",
    "conv": lambda s, b, i: f"layer{s}.{b - 1}.conv{i}",
    "bn": lambda s, b, i: f"layer{s}.{b - 1}.bn{i}",
    "projection": lambda s, b: f"layer{s}.{b - 1}.shortcut.0",
    "final_bn": "bn1",
    "logits": "linear",
}
# A TensorFlow checkpoint counts layers: two in the stem, four in each of nine blocks.
NUMBERED = {
    "stem": "layer_with_weights-0",
    "stem_bn": "layer_with_weights-1",
    "conv": lambda s, b, i: f"layer_with_weights-{4 * (3 * (s - 1) + b - 1) + 2 * i}",
    "bn": lambda s, b, i: f"layer_with_weights-{4 * (3 * (s - 1) + b - 1) + 2 * i + 1}",
    "logits": "layer_with_weights-38",
    "zeros": "behind",
}

RESNET20 = functools.partial(foreign.original_resnet, blocks=3)
WRN16_2 = functools.partial(foreign.wide_resnet, blocks=2, width=2)
B = {"shortcut_type": "B"}
CASES = {
    "torchvision": ("torchvision", "cifar_resnet20", B, RESNET20, TORCHVISION, {}),
    "kuangliu": ("kuangliu", "cifar_resnet20", B, RESNET20, KUANGLIU, {}),
    "akamaster": ("akamaster", "cifar_resnet20", {}, RESNET20, AKAMASTER, {}),
    "pytorchcv": ("pytorchcv", "cifar_resnet20", B, RESNET20, PYTORCHCV, {}),
    "chainercv": (
        "chainercv",
        "cifar_wide_resnet",
        {"depth": 16, "width": 2},
        WRN16_2,
        CHAINERCV,
        {"framework": "chainer"},
    ),
    "hendrycks_wrn": ("hendrycks_wrn", "cifar_wide_resnet", {"depth": 16, "width": 2}, WRN16_2, HENDRYCKS, {}),
    "sjmikler": ("sjmikler", "cifar_resnet20", {}, RESNET20, NUMBERED, {"framework": "keras", "epsilon": 1e-3}),
    "fast_autoaugment_wrn": (
        "fast_autoaugment_wrn",
        "cifar_wide_resnet",
        {"depth": 16, "width": 2, "stride_in": "conv2", "shortcut_from": "input"},
        functools.partial(foreign.wide_resnet, blocks=2, width=2, theirs="input"),
        FAST_AUTOAUGMENT,
        {"bias": True},
    ),
    # Differences that conversion absorbs.
    "epsilon": ("torchvision", "cifar_resnet20", B, RESNET20, TORCHVISION, {"epsilon": 1e-3}),
    "biases": ("torchvision", "cifar_resnet20", B, RESNET20, TORCHVISION, {"bias": True}),
    "biases and zeros": ("akamaster", "cifar_resnet20", {}, RESNET20, AKAMASTER, {"bias": True}),
    "biases on the stream": (
        "hendrycks_wrn",
        "cifar_wide_resnet",
        {"depth": 16, "width": 1},
        functools.partial(foreign.wide_resnet, blocks=2),
        HENDRYCKS,
        {"bias": True},
    ),
}


def images():
    return np.random.default_rng(1).normal(size=(3, 32, 32, 3)).astype("float32")


def run(network, net, classes, *layers):
    """Return the logits of a foreign network, whose arrays are then in `net.state`."""
    with torch.no_grad():
        return network(net, torch.from_numpy(images().transpose(0, 3, 1, 2)), classes, *layers).numpy()


def check_equal(model, expected):
    scale = np.abs(expected).max()
    assert np.std(expected, axis=0).max() > 0.01 * scale  # the images matter
    np.testing.assert_allclose(np.asarray(model(images())) / scale, expected / scale, rtol=1e-4, atol=1e-4)


def converted(layout, state, name, arguments, form="torch", epsilon=1e-5):
    model = create_model(name, include_preprocessing=False, **arguments)
    convert(model, state_of(Checkpoint(form, state)), LAYOUTS[layout], epsilon)
    return model


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_other_network(case):
    layout, name, arguments, network, layers, options = CASES[case]
    net = foreign.Net(**options)
    expected = run(network, net, 100, layers)
    form = {"chainer": "npz", "keras": "tensorflow"}.get(net.framework, "torch")
    model = converted(layout, net.state, name, arguments | {"classes": 100}, form, net.epsilon)
    check_equal(model, expected)


def test_a_stem_with_bias_in_place_of_batch_normalization():
    net = foreign.Net()
    expected = run(foreign.shake_shake, net, 10)
    state = {f"model/module.{name}": array for name, array in net.state.items()}
    check_equal(converted("fast_autoaugment_shake", state, "cifar_shake_shake26_2x32d", {}), expected)


@pytest.mark.parametrize("logits", ["classifier", "head.fc"])
def test_vgg(logits):
    net = foreign.Net()
    expected = run(foreign.vgg11, net, 10, logits)
    check_equal(converted("vgg_torch", net.state, "cifar_vgg11", {}), expected)


def test_vgg_with_hidden_layers():
    net = foreign.Net()
    expected = run(foreign.with_hidden_layers, net, 10)
    check_equal(converted("vgg_torch", net.state, "cifar_vgg11", {"hidden_layers": 2}), expected)


def test_grouped_convolutions():
    net = foreign.Net()
    expected = run(functools.partial(foreign.resnext, cardinality=4, base_width=8), net, 10)
    arguments = {"depth": 11, "cardinality": 4, "base_width": 8}
    check_equal(converted("resnext_prlz", net.state, "cifar_resnext", arguments), expected)


def test_what_the_forward_pass_never_uses_is_dropped():
    net = foreign.Net()
    expected = run(WRN16_2, net, 10, HENDRYCKS)
    state = net.state | {name.replace("block1", "sub_block1"): array for name, array in net.state.items()}
    check_equal(converted("trades_wrn", state, "cifar_wide_resnet", {"depth": 16, "width": 2}), expected)


def test_a_projection_is_counted_before_the_last_layer_of_its_branch():
    """Layers 115 and 116 of the published ResNet-164 have the shapes of a projection and of a third convolution."""
    places = LAYOUTS["sjmikler"].places_of(slots_of(create_model("cifar_resnet164")))
    assert places["stage2_block1_projection"] == ("layer_with_weights-115",)
    assert places["stage2_block1_conv3"] == ("layer_with_weights-116",)
    assert places["stage1_block1_bn1"] == ("layer_with_weights-1",)


def test_variance_below_the_difference_of_epsilon():
    net = foreign.Net(epsilon=1e-8)
    run(RESNET20, net, 10, TORCHVISION)
    for name in net.state:
        if name.endswith("running_var"):
            net.state[name][:2] = 0, 1e-9
    net.state["bn1.weight"][:2] = 1e-4
    for name in [name for name in net.state if name.endswith("weight") and net.state[name].ndim == 1]:
        net.state[name][:2] *= 1e-4  # so small that dividing by sqrt(1e-8) gives ordinary numbers
    expected = run(RESNET20, net, 10, TORCHVISION)
    check_equal(converted("torchvision", net.state, "cifar_resnet20", B, epsilon=1e-8), expected)


def test_inverse_deviations_and_numbered_arrays():
    net = foreign.Net(epsilon=1e-4)
    expected = run(RESNET20, net, 10, AKAMASTER)
    arrays, layer = [], {}
    for name, array in net.state.items():
        module, _, leaf = name.rpartition(".")
        layer.setdefault(module, {})[leaf] = array
    for variables in layer.values():
        if "running_var" in variables:
            arrays += [variables["bias"], variables["weight"], variables["running_mean"]]
            arrays.append(1 / np.sqrt(variables["running_var"] + 1e-4))
        elif "bias" in variables:
            arrays += [variables["weight"].T, variables["bias"]]
        else:
            arrays.append(variables["weight"])
    state = {f"arr_{number}": array for number, array in enumerate(arrays)}
    check_equal(converted("lasagne", state, "cifar_resnet20", {}, "npz"), expected)


@pytest.fixture(scope="module")
def resnet20():
    net = foreign.Net()
    run(RESNET20, net, 10, TORCHVISION)
    return net.state


@pytest.fixture(scope="module")
def model20():
    return create_model("cifar_resnet20", shortcut_type="B")


def test_prefixes_counters_and_what_training_code_adds(resnet20):
    arrays = {f"state_dict/module.model.{name}": array for name, array in resnet20.items()}
    arrays["state_dict/module.model.bn1.num_batches_tracked"] = np.array(7)
    arrays["state_dict/mu"] = np.zeros(3)
    arrays["optimizer/state/0/momentum_buffer"] = np.zeros((16, 3, 3, 3))
    assert set(state_of(Checkpoint("torch", arrays))) == set(resnet20)


def test_only_constants_in_front_of_the_network_are_left_out():
    arrays = {"module.mu": np.zeros((1, 3, 1, 1)), "module.fc.mu": np.zeros(3), "module.sigma": np.ones(5)}
    arrays |= {"module.N": np.zeros(3), "module.bn1.num_batches_tracked": np.array(7)}
    assert set(state_of(Checkpoint("torch", arrays))) == {"fc.mu", "sigma", "N"}
    assert set(state_of(Checkpoint("npz", {"bn1/N": np.array(7), "bn1/beta": np.zeros(3)}))) == {"bn1/beta"}
    arrays = {"bn1.num_batches_tracked": np.array(7), "N": np.zeros(3)}
    assert set(state_of(Checkpoint("safetensors", arrays))) == {"N"}


def test_a_part_is_chosen_and_the_others_are_named():
    arrays = {"model/a": np.zeros(1), "ema/module.a": np.ones(1), "ema/module.b": np.ones(1), "accuracy": np.ones(1)}
    arrays |= {"optimizer/state/0/momentum_buffer": np.zeros(1), "optimizer/state/1/momentum_buffer": np.zeros(1)}
    checkpoint = Checkpoint("torch", arrays)
    assert state_of(checkpoint) == {"a": np.zeros(1)} and state_of(checkpoint, "ema")["a"] == np.ones(1)
    assert left_aside(checkpoint) == {"ema": 2, "others": 1, "optimizer": 2}
    assert left_aside(checkpoint, "ema") == {"model": 1, "others": 1, "optimizer": 2}
    with pytest.raises(WeightsError, match="the file has no part teacher; it holds model, ema, "):
        state_of(checkpoint, "teacher")


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("prefix", ["", "state_dict/module.", "state_dict/model.module."])
def test_the_input_of_the_file_is_compared(scale, prefix):
    values = {f"{prefix}mu": 0.5 * scale, f"{prefix}sigma": 0.25 * scale}
    checkpoint = Checkpoint("torch", {name: np.full((1, 3, 1, 1), value, "float32") for name, value in values.items()})
    assert contradiction(checkpoint, {"mean": [127.5] * 3, "std": [63.75] * 3}) == ""
    assert contradiction(checkpoint, None) == ""
    message = contradiction(checkpoint, "half")
    assert "by mu (" in message and message.endswith(", not by half")
    assert contradiction(checkpoint, "lasagne").endswith(", not by lasagne")


def test_two_networks_without_known_names_are_refused(resnet20):
    arrays = {f"{group}/{name}": array for name, array in resnet20.items() for group in ("teacher", "student")}
    with pytest.raises(WeightsError, match="the file holds teacher, student; expected"):
        state_of(Checkpoint("torch", arrays))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra.weight": np.zeros(3, "float32")}, "the model has no place for extra.weight"),
        ({"conv1.weight": np.zeros((16, 3, 5, 5), "float32")}, "conv1.weight is 5x5x3x16, stem_conv 3x3x3x16"),
        ({"bn1.weight": np.zeros(16, "int64")}, "bn1.weight is int64 16, stem_bn 16"),
        ({"bn1.weight": None}, "the file lacks bn1.weight"),
        ({"bn1.weight": np.full(16, np.nan, "float32")}, "stem_bn: its gamma has numbers that are not finite"),
    ],
)
def test_what_does_not_fit_is_said(resnet20, change, message):
    state = {name: array for name, array in (resnet20 | change).items() if array is not None}
    with pytest.raises(WeightsError) as failure:
        converted("torchvision", state, "cifar_resnet20", B)
    assert message in str(failure.value) and "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "value", "epsilon", "layout", "message"),
    [
        ("bn1.running_var", -1, 1e-5, "torchvision", "its variance of -1 plus epsilon, 1e-05, is not positive"),
        ("bn1.running_var", 0, 0, "torchvision", "stem_bn: its variance of 0 plus epsilon, 0, is not positive"),
        ("bn1.running_var", 0, 1e-5, "inverse", "stem_bn: its inverse deviations are not all positive"),
        ("conv1.weight", 1e300, 1e-5, "torchvision", "stem_conv: its kernel has numbers that are too large"),
        ("conv1.weight", 1, float("nan"), "torchvision", "epsilon: expected a number of at least 0, got nan"),
        ("conv1.weight", 1, -5, "torchvision", "epsilon: expected a number of at least 0, got -5"),
    ],
)
def test_what_gives_no_finite_logits_is_refused(resnet20, model20, name, value, epsilon, layout, message):
    chosen = LAYOUTS["torchvision"]
    if layout == "inverse":
        chosen = dataclasses.replace(chosen, inverse_deviation=True)
    with pytest.raises(WeightsError, match=message):
        convert(model20, resnet20 | {name: np.full(resnet20[name].shape, value, np.float64)}, chosen, epsilon)


def test_a_model_of_another_kind_is_refused(resnet20):
    with pytest.raises(WeightsError, match="no place for layer final_bn|the file lacks"):
        converted("torchvision", resnet20, "cifar_resnet20", {"block_type": "preactivated"})


def test_a_bias_before_a_padded_convolution_is_refused():
    """At the border, what pads is zero in both networks, so that the missing constant is not one there."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, use_bias=False, name="first")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, padding="same", name="second")(x))
    weights = {"first": {"kernel": np.ones((1, 1, 3, 4)), "bias": np.ones(4)}, "second": {}}
    weights["second"] = {"kernel": np.ones((3, 3, 4, 4)), "bias": np.zeros(4)}
    with pytest.raises(WeightsError, match="second: a bias before it cannot be absorbed, because it pads with zeros"):
        absorb_biases(model, weights)


def test_every_layout_uses_an_array_once(resnet20):
    """Two layers at one place would leave the other array of the file unused, and one layer filled twice."""
    slots = slots_of(create_model("cifar_resnet20", shortcut_type="B"))
    for layout in LAYOUTS.values():
        places = layout.places_of(slots)
        taken = [place[0] for place in places.values() if place]
        assert len(taken) == len(set(taken)), layout.code


def test_templates():
    templates = {"stage{s}_block{b}_conv{i}": "l{s}.{b-1}.{i}", "logits": ("fc", "linear"), "stem_bn": None}
    names = ["stage2_block10_conv1", "logits", "stem_bn", "stem_conv", "stage2_block10_conv1x"]
    expected = {"stage2_block10_conv1": ("l2.9.1",), "logits": ("fc", "linear"), "stem_bn": None}
    assert translate(names, templates) == expected


def test_matching_counts_what_fits(resnet20):
    slots = slots_of(create_model("cifar_resnet20", shortcut_type="B"))
    assert match(resnet20, LAYOUTS["torchvision"], slots).paired == len(resnet20)
    assert match(resnet20, LAYOUTS["pytorchcv"], slots).paired == 0
