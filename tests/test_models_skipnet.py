"""Gated networks: the gates' decisions determine what runs, what is counted and what inference computes."""

import dataclasses

import keras
import numpy as np
import pytest
from model_cases import assert_close, fill, pixels
from tiny_models import options

from cifarzoo.data import load
from cifarzoo.errors import ModelError
from cifarzoo.evaluation.evaluate import evaluate
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.models.macs import macs
from cifarzoo.models.registry import COMMON_ARGUMENTS, create_model
from cifarzoo.models.resnet import resnet
from cifarzoo.models.skipnet import skipnet
from cifarzoo.models.skipping import (
    SkippingInference,
    computation_metrics,
    computation_percent,
    executed_macs,
    gate_decisions,
    gated_blocks,
)
from cifarzoo.pretrained.loading import load_file


def set_bias(model, value):
    """Make open gates more (positive) or less (negative) likely."""
    for layer in model.layers:
        if layer.name == "gate_probability":
            layer.bias.assign([value])
        elif layer.name.endswith("_gate_network"):
            layer.get_layer(layer.name.replace("network", "linear")).bias.assign([0, value])


def small(gate="recurrent", stage="supervised", computation_cost=0.0, **changes):
    """Return SkipNet-14, which has five gates."""
    return skipnet(14, gate, computation_cost, stage, **options("small", 10) | changes)


def share(runs):
    """Return the percentage of SkipNet-14's blocks that run with `runs` gates open; the first block has no gate."""
    return 100 * (1 + runs) / 6


@pytest.fixture(scope="module", params=["recurrent", "feed_forward"])
def model(request):
    model = small(request.param)
    fill(model)
    set_bias(model, 0)
    return model


def test_gates_differ_between_images(model):
    decisions = gate_decisions(model, pixels(32))
    assert decisions.shape == (32, 5) and decisions.dtype == bool
    assert 20 < computation_percent(decisions) < 80
    assert (decisions != decisions[0]).any()


@pytest.mark.slow
def test_inference_without_skipped_blocks_gives_the_same_logits(model):
    images = pixels(24)
    expected = model.predict(images, batch_size=24, verbose=0)
    skipping = SkippingInference(model)
    assert_close(skipping.predict(images, batch_size=24), expected)
    assert_close(skipping.predict(images, batch_size=5), expected)


@pytest.mark.parametrize("open_gates", [True, False])
@pytest.mark.slow
def test_computation_and_macs_at_the_extremes(model, open_gates):
    set_bias(model, 1000 if open_gates else -1000)
    images = pixels(3)
    decisions = gate_decisions(model, images)
    expected = model(images).numpy()
    skipped = SkippingInference(model).predict(images)
    set_bias(model, 0)
    assert decisions.all() if open_gates else not decisions.any()
    assert_close(skipped, expected)
    assert computation_percent(decisions) == pytest.approx(share(5 if open_gates else 0))
    blocks = sum(macs(model.get_layer(name)) for name in gated_blocks(model))
    assert executed_macs(model, decisions).tolist() == [macs(model) - (0 if open_gates else blocks)] * 3


def test_computation_counts_the_first_block():
    decisions = np.array([[True, False, False], [True, True, True]])
    assert computation_percent(decisions) == pytest.approx((2 / 4 + 4 / 4) / 2 * 100)


def test_metrics_of_what_is_saved(model):
    set_bias(model, -1000)
    found = computation_metrics(model, pixels(3))
    set_bias(model, 0)
    blocks = sum(macs(model.get_layer(name)) for name in gated_blocks(model))
    assert found["computation_percent"] == pytest.approx(share(0))
    assert found["macs_mean"] == macs(model) - blocks
    assert found["macs_saved_percent"] == pytest.approx(100 * blocks / macs(model))


@pytest.mark.slow
def test_evaluation_reports_what_is_saved():
    dataset = load("synthetic")
    few = dataclasses.replace(dataset, test=dataset.test.take(slice(20)))
    gated, _ = evaluate(LoadedModel(small(), "synthetic", "fresh"), few)
    plain, _ = evaluate(LoadedModel(create_model("cifar_resnet20"), "synthetic", "fresh"), few)
    assert gated.keys() - plain.keys() == {"computation_percent", "macs_mean", "macs_saved_percent"}
    assert gated["computation_percent"] == 100 and gated["macs_saved_percent"] == 0


@pytest.mark.parametrize("gate", ["recurrent", "feed_forward"])
@pytest.mark.slow
def test_stages_share_their_weights(gate, tmp_path):
    """The second stage loads the first stage's file, then decides and predicts like the first."""
    first, second = (small(gate, stage) for stage in ("supervised", "reinforce"))
    fill(first)
    set_bias(first, 0)
    first.save_weights(tmp_path / "first.weights.h5")
    load_file(second, tmp_path / "first.weights.h5")
    images = pixels(16)
    np.testing.assert_array_equal(gate_decisions(second, images), gate_decisions(first, images))
    expected = first.predict(images, verbose=0)
    assert_close(second.predict(images, verbose=0), expected, 1e-6)
    assert_close(SkippingInference(second).predict(images), expected)
    softmax = small(gate, "reinforce", classifier_activation="softmax")
    softmax.set_weights(second.get_weights())
    probabilities = keras.ops.softmax(expected)
    assert_close(softmax.predict(images, verbose=0), probabilities)
    assert_close(SkippingInference(softmax).predict(images), probabilities)


def test_file_of_the_second_stage(tmp_path):
    model = small(stage="reinforce", computation_cost=0.5)
    model.save(tmp_path / "model.keras")
    other = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(other(pixels()), model(pixels()))
    assert other.get_layer("policy_gradient").cost == 0.5


def test_second_stage_draws_its_gates_while_training():
    model = small(stage="reinforce", computation_cost=0.1)
    set_bias(model, 0)
    images = pixels(8)
    gates = keras.Model(model.input, [model.get_layer(f"{name}_gate").output for name in gated_blocks(model)])
    one, two = (np.concatenate(gates(images, training=True), axis=1) for _ in range(2))
    assert set(np.unique(one)) == {0, 1} and (one != two).any()
    model(images, training=True)
    assert 0 < float(sum(model.losses)) < 0.1 * 5
    model(images)
    assert model.losses == []


def test_with_open_gates_it_is_the_resnet():
    options = COMMON_ARGUMENTS | {"name": "resnet38", "statistics": "cifar10"}
    backbone = resnet(38, "original", "B", **options)
    gated = create_model("cifar_skipnet38")
    fill(backbone)
    set_bias(gated, 1000)
    copied = 0
    for layer in gated.layers:
        for inner in layer.layers if isinstance(layer, keras.Model) else [layer]:
            if inner.weights and "gate" not in inner.name:
                inner.set_weights(backbone.get_layer(inner.name).get_weights())
                copied += len(inner.weights)
    assert copied == len(backbone.weights)
    assert_close(gated(pixels()), backbone(pixels()))


@pytest.mark.slow
def test_open_gates_cost():
    free, costly = (create_model("cifar_skipnet38", computation_cost=cost) for cost in (0.0, 0.5))
    set_bias(costly, 1000)
    free(pixels(), training=True)
    costly(pixels(), training=True)
    assert free.losses == []
    assert float(sum(costly.losses)) == pytest.approx(0.5 * 17)


@pytest.mark.slow
def test_an_untrained_network_runs_every_block():
    assert computation_percent(gate_decisions(create_model("cifar_skipnet38"), pixels())) == 100


def test_only_gated_models_have_decisions():
    with pytest.raises(ModelError, match="cifar_resnet20: has no gates"):
        gate_decisions(create_model("cifar_resnet20"), pixels())


@pytest.mark.slow
def test_pyramid_gates_begin_with_the_second_block_of_the_second_stage():
    model = create_model("cifar_pyramid_skipnet272_a200")
    blocks = gated_blocks(model)
    assert blocks[0] == "stage2_block2" and blocks[-1] == "stage3_block30" and len(blocks) == 59
    set_bias(model, 0)
    images = pixels(4)
    assert_close(SkippingInference(model).predict(images), model(images), 1e-3)
