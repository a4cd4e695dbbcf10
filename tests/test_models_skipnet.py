"""Gated networks: what gates decide is what runs, what is counted and what inference computes."""

import keras
import numpy as np
import pytest
from model_cases import assert_close, fill, pixels

from cifarzoo.errors import ModelError
from cifarzoo.models.macs import macs
from cifarzoo.models.registry import COMMON_ARGUMENTS, create_model
from cifarzoo.models.resnet import resnet
from cifarzoo.models.skipping import (
    SkippingInference,
    computation_percent,
    executed_macs,
    gate_decisions,
    gated_blocks,
)


def set_bias(model, value):
    """Make open gates more (positive) or less (negative) likely."""
    for layer in model.layers:
        if layer.name == "gate_probability":
            layer.bias.assign([value])
        elif layer.name.endswith("_gate_network"):
            layer.get_layer(layer.name.replace("network", "linear")).bias.assign([0, value])


@pytest.fixture(scope="module", params=["recurrent", "feed_forward"])
def model(request):
    model = create_model("cifar_skipnet38", gate=request.param)
    fill(model)
    set_bias(model, 0)
    return model


def test_gates_differ_between_images(model):
    decisions = gate_decisions(model, pixels(32))
    assert decisions.shape == (32, 17) and decisions.dtype == bool
    assert 20 < computation_percent(decisions) < 80
    assert (decisions != decisions[0]).any()


def test_inference_without_skipped_blocks_gives_the_same_logits(model):
    images = pixels(24)
    expected = model.predict(images, batch_size=24, verbose=0)
    skipping = SkippingInference(model)
    assert_close(skipping.predict(images, batch_size=24), expected)
    assert_close(skipping.predict(images, batch_size=5), expected)


@pytest.mark.parametrize("open_gates", [True, False])
def test_computation_and_macs_at_the_extremes(model, open_gates):
    set_bias(model, 1000 if open_gates else -1000)
    images = pixels(3)
    decisions = gate_decisions(model, images)
    expected = model(images).numpy()
    skipped = SkippingInference(model).predict(images)
    set_bias(model, 0)
    assert decisions.all() if open_gates else not decisions.any()
    assert_close(skipped, expected)
    assert computation_percent(decisions) == pytest.approx(100 if open_gates else 100 / 18)
    blocks = sum(macs(model.get_layer(name)) for name in gated_blocks(model))
    assert executed_macs(model, decisions).tolist() == [macs(model) - (0 if open_gates else blocks)] * 3


def test_computation_counts_the_first_block():
    decisions = np.array([[True, False, False], [True, True, True]])
    assert computation_percent(decisions) == pytest.approx((2 / 4 + 4 / 4) / 2 * 100)


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


def test_open_gates_cost():
    free, costly = (create_model("cifar_skipnet38", computation_cost=cost) for cost in (0.0, 0.5))
    set_bias(costly, 1000)
    free(pixels())
    costly(pixels())
    assert free.losses == []
    assert float(sum(costly.losses)) == pytest.approx(0.5 * 17)


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
