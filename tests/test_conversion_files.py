"""Files in no table: `cifarzoo convert`, to our format and to PyTorch's."""

import functools
import json

import numpy as np
import pytest

from cifarzoo import load
from cifarzoo.cli.application import command
from cifarzoo.conversion import differences, guess, to_torch
from cifarzoo.conversion.guess import parse_call
from cifarzoo.conversion.layouts import LAYOUTS
from cifarzoo.conversion.to_torch import torch_layout
from cifarzoo.conversion.torch_writer import write_state_dict
from cifarzoo.errors import CifarzooError, ModelError, WeightsError
from cifarzoo.exporting import state_dict
from cifarzoo.models.catalogue import identity
from cifarzoo.models.registry import create_model
from cifarzoo.pretrained.description import Description, description_of, read_description

pytest.importorskip("torch")
import foreign_networks as foreign
import torch
from test_conversion import (
    AKAMASTER,
    HENDRYCKS,
    PYTORCHCV,
    RESNET20,
    TORCHVISION,
    WRN16_2,
    check_equal,
    run,
)


def converted(tmp_path, capsys, net, model, *options):
    """Run `cifarzoo convert` on the network's state; return what it prints and the path of the weight file."""
    checkpoint, out = tmp_path / "some.pth", tmp_path / "some.weights.h5"
    torch.save({name: torch.from_numpy(array) for name, array in net.state.items()}, checkpoint)
    arguments = ["convert", str(checkpoint), "--model", model, "--out", str(out), "--format", "json", *options]
    command()(arguments, standalone_mode=False)
    return json.loads(capsys.readouterr().out), out


@pytest.mark.parametrize(
    ("network", "layers", "layout", "others", "model"),
    [
        (RESNET20, TORCHVISION, "torchvision", [], 'cifar_resnet20(shortcut_type="B")'),
        (RESNET20, PYTORCHCV, "pytorchcv", [], 'resnet20(shortcut_type="B", classes=10)'),
        (RESNET20, AKAMASTER, "akamaster", ["kuangliu"], "cifar_resnet20"),
        (WRN16_2, HENDRYCKS, "hendrycks_wrn", [], "cifar_wide_resnet(depth=16, width=2)"),
    ],
)
def test_the_key_map_is_recognized(tmp_path, capsys, network, layers, layout, others, model):
    net = foreign.Net()
    expected = run(network, net, 10, layers)
    row, out = converted(tmp_path, capsys, net, model, "--statistics", "[[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]")
    assert (row["layout"], row["others"], row["arrays"]) == (layout, others, len(net.state))
    assert [remark.split()[0] for remark in row["remarks"]] == others and row["epsilon"] == 1e-5
    description = read_description(out)
    assert (description.statistics, description.dataset) == ("half", "cifar10")
    model = load(out)
    check_equal(lambda x: model((x * 0.5 + 0.5) * 255), expected)


def test_what_does_not_fit_is_said(tmp_path, capsys):
    net = foreign.Net()
    run(RESNET20, net, 10, TORCHVISION)
    with pytest.raises(WeightsError, match="key map, torchvision, 107 of 167 arrays do: the file lacks layer1.3"):
        converted(tmp_path, capsys, net, 'cifar_resnet32(shortcut_type="B")', "--statistics", "half")
    net.state = {f"x.{name}": array for name, array in net.state.items()}
    with pytest.raises(WeightsError, match="no key map knows its names"):
        converted(tmp_path, capsys, net, "cifar_resnet20", "--statistics", "half")


def test_another_network_with_equal_names_and_shapes_is_refused(tmp_path, capsys):
    """pytorchcv's preresnet20 has the names, shapes and number of parameters of our pre-activated ResNet-20."""
    layers = {key: value for key, value in PYTORCHCV.items() if key != "stem_bn"}
    layers |= {"stem": "features.init_block", "final_bn": "features.post_activ.bn"}
    layers |= {"projection": lambda s, b: f"features.stage{s}.unit{b}.identity_conv"}
    net = foreign.Net()
    expected = run(functools.partial(foreign.wide_resnet, blocks=3), net, 10, layers)
    with pytest.raises(WeightsError, match="but pytorchcv has other shortcuts .its preresnet20 is cifar_wide_resnet"):
        model = 'cifar_resnet20(block_type="preactivated", shortcut_type="B")'
        converted(tmp_path, capsys, net, model, "--statistics", "half")
    _, out = converted(tmp_path, capsys, net, "cifar_wide_resnet(depth=22, width=1)", "--statistics", "half")
    model = load(out)
    check_equal(lambda x: model((x * 0.5 + 0.5) * 255), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "cifar_resnet20"], "expected --model and --statistics$"),
        (["--model", "cifar_resnet20(20)", "--statistics", "half"], "expected a model with keyword arguments"),
        (["--model", "cifar_resnet20(__import__('os'))", "--statistics", "half"], "expected a model with"),
        (["--model", "cifar_resnet20(depth=3)", "--statistics", "half"], "has no argument depth"),
        (["--model", "cifar_resnet21", "--statistics", "half"], "unknown model"),
        (["--model", "cifar_resnet20", "--statistics", "halves"], "statistics: 'halves' is not one of"),
        (
            ["--model", "cifar_resnet20", "--statistics", "half", "--dataset", "svhn\n"],
            "--dataset svhn.*: expected one of cifar10, cifar100, synthetic",
        ),
    ],
)
def test_wrong_calls_are_one_line(arguments, message):
    with pytest.raises(CifarzooError, match=message) as failure:
        command()(["convert", "nothing.pth", *arguments], standalone_mode=False)
    assert "\n" not in str(failure.value)


def test_files_that_the_user_did_not_name_are_not_replaced(tmp_path, monkeypatch):
    file, existing = "net.v1.pth", "net.v1.weights.h5"
    options = ["--model", "cifar_resnet20", "--statistics", "half"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / existing).write_bytes(b"the user's")
    with pytest.raises(WeightsError, match=f"^{existing}: exists; name the file to write with --out$"):
        command()(["convert", file, *options], standalone_mode=False)
    with pytest.raises(WeightsError, match=f"^{existing}: is the file to read"):
        command()(["convert", existing, *options, "--out", existing], standalone_mode=False)
    assert (tmp_path / existing).read_bytes() == b"the user's"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("net.h5", "net.h5: the name of a weight file"),
        ("folder.weights.h5", "^folder.weights.h5: is a folder; name a file with --out$"),
        ("no/net.weights.h5", "^no.net.weights.h5: there is no folder no$"),
    ],
)
def test_the_file_to_write_is_checked_first(tmp_path, monkeypatch, out, message):
    options = ["--model", "cifar_resnet20", "--statistics", "half", "--out", out]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.weights.h5").mkdir()
    # There is nothing to read: whatever looks at that first has another message.
    with pytest.raises(WeightsError, match=message):
        command()(["convert", "nothing.pth", *options], standalone_mode=False)


def test_calls_are_data():
    assert parse_call("cifar_resnet20") == ("cifar_resnet20", {})
    assert parse_call(' cifar_vgg11(classes=100, name="a") ') == ("cifar_vgg11", {"classes": 100, "name": "a"})
    for text in ("", "a.b()", "f(x)", "f(**{})", "f(x=g())", "(" * 500):
        with pytest.raises(ModelError):
            parse_call(text)


ROUND_TRIPS = [
    ("cifar_resnet20", {"shortcut_type": "B"}, None, "torchvision", RESNET20, TORCHVISION),
    ("cifar_resnet20", {}, None, "akamaster", RESNET20, AKAMASTER),
    ("cifar_resnet20", {"shortcut_type": "B"}, "pytorchcv", "pytorchcv", RESNET20, PYTORCHCV),
    ("cifar_wide_resnet", {"depth": 16, "width": 2}, "hendrycks_wrn", "hendrycks_wrn", WRN16_2, HENDRYCKS),
]


@pytest.mark.parametrize(("name", "arguments", "requested", "layout", "network", "layers"), ROUND_TRIPS)
def test_pytorch_computes_the_same_from_what_is_written(tmp_path, name, arguments, requested, layout, network, layers):
    model = create_model(name, **arguments, statistics="half")
    random = np.random.default_rng(2)
    for layer in model.layers:  # statistics that are not hidden behind zeros and ones
        if "_bn" in layer.name:
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    facts = {"layout": requested}
    state_dict.write(model, tmp_path / "theirs.pth", facts)
    assert facts["layout"] == layout
    assert facts["input"] == "(pixel / 255 - [0.5, 0.5, 0.5]) / [0.5, 0.5, 0.5]"
    state = torch.load(tmp_path / "theirs.pth", weights_only=True)
    net = foreign.Net()
    net.state = {key: tensor.numpy() for key, tensor in state.items()}
    names = set(net.state)
    expected = run(network, net, 10, layers)
    assert set(net.state) == names  # the other network found all of its arrays
    check_equal(lambda x: model((x * 0.5 + 0.5) * 255), expected)
    if layout == "akamaster":
        again = state_dict.runner(tmp_path / "theirs.pth")  # what `cifarzoo export` checks
        check_equal(lambda x: again((x * 0.5 + 0.5) * 255), expected)


def test_vgg_is_written_for_torchvision(tmp_path):
    model = create_model("cifar_vgg11", include_preprocessing=False)
    facts = {}
    state_dict.write(model, tmp_path / "theirs.pth", facts)
    state = torch.load(tmp_path / "theirs.pth", weights_only=True)
    net = foreign.Net()
    net.state = {key: tensor.numpy() for key, tensor in state.items()}
    check_equal(model, run(foreign.vgg11, net, 10))
    assert facts["layout"] == "vgg_torch"
    assert facts["input"] == "what the network was trained with; the file does not say"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cifar_resnet164", {"shortcut_type": "A"}, "pytorchcv has no shortcut without parameters"),
        ("cifar_resnet20", {"shortcut_type": "B", "block_type": "preactivated"}, "pytorchcv has other shortcuts"),
        ("cifar_resnet20", {"shortcut_type": "B", "strided_padding": "same"}, "pads strided convolutions on all sides"),
        ("cifar_resnet9", {}, "other projects' networks lack|has no layer"),
    ],
)
def test_networks_that_the_other_code_lacks_are_refused(name, arguments, message):
    model = create_model(name, **arguments)
    with pytest.raises(WeightsError, match=message):
        torch_layout(model, description_of(model))


PYRAMIDNET = {"factory": "cifar_pyramidnet110_a48", "arguments": {"shake_drop": False}, "classes": 10}
WIDE = {"factory": "cifar_wide_resnet", "arguments": {"depth": 10, "width": 1}, "classes": 10}


def test_what_a_key_map_implies_is_said():
    same = LAYOUTS["sjmikler"]
    assert (same.epsilon, LAYOUTS["torchvision"].epsilon) == (1e-3, 1e-5)
    padded = Description(arguments={"strided_padding": "symmetric"})
    assert guess._padding(same, padded).endswith('have strided_padding="same", --model has "symmetric"')
    assert guess._padding(LAYOUTS["akamaster"], padded) == guess._padding(same, Description()) == ""
    text = guess._choice("akamaster", "kuangliu")
    assert "kuangliu fits as well, and puts zero channels behind the others, akamaster on both sides" in text


@pytest.mark.parametrize(
    ("network", "changed", "message"),
    [
        (PYRAMIDNET, {"arguments": {"shake_drop": True}}, "pytorchcv has no ShakeDrop"),
        (PYRAMIDNET, {"factory": "cifar_shakedrop_pyramidnet272_a200", "arguments": {}}, "has no ShakeDrop"),
        (PYRAMIDNET, {"classes": None}, "expected a network that returns logits"),
        (WIDE, {"factory": "cifar_resnet21", "arguments": {}}, "has no cifar_resnet21"),
        (WIDE, {"arguments": WIDE["arguments"] | {"later": 1}}, "has no network with later=1"),
        (WIDE, {"arguments": WIDE["arguments"] | {"stride_in": "conv2"}}, "the stride in the first convolution"),
    ],
)
def test_only_listed_networks_are_written(monkeypatch, network, changed, message):
    monkeypatch.setattr(to_torch, "slots_of", lambda model: [])  # shapes show none of these differences
    assert torch_layout(None, Description(**network), "pytorchcv") == "pytorchcv"
    with pytest.raises(WeightsError, match=message):
        torch_layout(None, Description(**network | changed), "pytorchcv")


def test_every_listed_argument_exists():
    for networks in differences.NETWORKS.values():
        for factory, values in networks:
            assert set(values) == set(identity(factory, {})[1]) and identity(factory, {})[0] == factory


def test_the_written_file_is_what_pytorch_writes(tmp_path):
    arrays = {"a.weight": np.arange(24, dtype="float32").reshape(2, 3, 4).transpose(2, 0, 1), "b": np.array(7)}
    write_state_dict(tmp_path / "ours.pth", arrays)
    state = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert list(state) == ["a.weight", "b"] and type(state).__name__ == "OrderedDict"
    for name, array in arrays.items():
        assert state[name].dtype == torch.from_numpy(array).dtype
        np.testing.assert_array_equal(state[name].numpy(), array)
    write_state_dict(tmp_path / "again.pth", arrays)
    assert (tmp_path / "again.pth").read_bytes() == (tmp_path / "ours.pth").read_bytes()
    assert torch.load(tmp_path / "ours.pth", weights_only=True, mmap=True)["b"].item() == 7
