"""Loops over repeated blocks: where they are found, and that they compute what the unrolled network computes."""

import itertools

import numpy as np
import pytest

from cifarzoo.data import load
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals import block_loops
from cifarzoo.models.registry import create_model


def repeats_in(model):
    return [
        (len(part.copies), part.copies[0][0].operation.name)
        for part in block_loops.find_repeats(model)
        if isinstance(part, block_loops.RepeatedBlock)
    ]


def test_blocks_of_a_deep_network_are_found():
    """Eighteen blocks per stage; the first one differs in its shortcut or stride (He et al. 2016)."""
    model = create_model("cifar_resnet110")
    assert repeats_in(model) == [(17, f"stage{stage}_block2_bn1") for stage in (1, 2, 3)]
    nodes = []
    for part in block_loops.find_repeats(model):
        nodes += itertools.chain(*part.copies) if isinstance(part, block_loops.RepeatedBlock) else [part]
    assert nodes == block_loops.graph_nodes(model)


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_vgg11", "cifar_shake_shake26_2x32d"])
def test_shallow_networks_have_none(name):
    assert repeats_in(create_model(name)) == []


def test_random_layers_and_shared_layers_do_not_repeat():
    import keras

    shared = keras.layers.Dense(4)
    for layer in (lambda: keras.layers.Dropout(0.5), lambda: shared):
        x = inputs = keras.Input((4,))
        for _ in range(20):
            x = layer()(x)
        assert repeats_in(keras.Model(inputs, x)) == []


def test_a_tensor_that_skips_a_block_forbids_the_loop():
    import keras

    x = before = inputs = keras.Input((4,))
    for _ in range(20):
        x, before = keras.layers.Add()([keras.layers.Dense(4)(x), before]), x
    assert repeats_in(keras.Model(inputs, x)) == []


def test_a_tensor_that_leaves_in_the_middle_forbids_the_loop():
    """Features of two depths together, in a layer after the blocks or as the model's outputs."""
    import keras

    counts = {}
    for kind in ("plain", "concatenated", "outputs"):
        x = inputs = keras.Input((4,))
        depths = [x := keras.layers.Dense(4)(x) for _ in range(24)]
        outputs = {"plain": x, "outputs": [depths[13], x]}.get(kind)
        if kind == "concatenated":
            outputs = keras.layers.Concatenate()([depths[13], x])
        counts[kind] = [count for count, _ in repeats_in(keras.Model(inputs, outputs))]
    assert counts == {"plain": [24], "concatenated": [], "outputs": []}


def test_layers_that_are_called_differently_are_no_copies():
    import keras

    x = inputs = keras.Input((4,))
    for number in range(26):
        x = keras.layers.BatchNormalization()(x, training=False if number < 13 else None)
    assert [count for count, _ in repeats_in(keras.Model(inputs, x))] == [13, 13]


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.slow
def test_loops_compute_what_the_unrolled_network_computes(monkeypatch, recomputed):
    from cifarzoo.training.job import prepare

    experiment = Experiment.model_validate(
        {
            "module": "tiny_models",
            "model": "tiny_mlp",
            "model_parameters": {"blocks": 5},
            "dataset": "synthetic",
            "precision": "float64",
            "train_parameters": {"batch_size": 16, "steps_per_call": 2, "ema_decay": 0.9, "weight_decay": 0.01},
        }
    )
    places = np.arange(64, dtype=np.int32).reshape(4, 16)
    monkeypatch.setattr(block_loops, "MIN_RECOMPUTED_COPIES", 1 if recomputed else 100)
    results = []
    for min_copies in (5, 100):
        monkeypatch.setattr(block_loops, "MIN_COPIES", min_copies)
        engine = prepare(experiment, load("synthetic")).create_engine(0)
        assert len(repeats_in(engine.model)) == (min_copies < 100)
        sums = [engine.train(first, places[first : first + 2], np.full(2, 0.1)) for first in (0, 2)]
        results.append((sums, engine.state(), engine.predict("test")))
    (sums, state, logits), (sums_unrolled, state_unrolled, logits_unrolled) = results
    for one, other in zip(sums, sums_unrolled, strict=True):
        assert one == pytest.approx(other, rel=1e-6)
    for name, value in state_unrolled.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(logits, logits_unrolled, rtol=1e-5, atol=1e-6)
