"""SAM and gradient accumulation: against NumPy, against the plain gradient, and one engine against the other."""

import numpy as np
import pytest
from test_engine_tensorflow import document, finish, first_weights, start

from cifarzoo.data import load
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.schema import Experiment

pytest.importorskip("tensorflow")

STEPS, BATCH, RATE = 3, 16, 0.1


def train(model_parameters=None, model="tiny_linear", **parameters):
    """Three float64 steps without augmentation: the weights before, between and after them, and the losses."""
    from cifarzoo.training.job import prepare

    experiment = Experiment.model_validate(
        {
            "module": "tiny_models",
            "model": model,
            "model_parameters": model_parameters or {},
            "dataset": "synthetic",
            "augmentation": "none",
            "precision": "float64",
            "distribution": "none",
            "train_parameters": {"batch_size": BATCH, "weight_decay": 0, "momentum": 0, "steps_per_call": 1}
            | parameters,
        }
    )
    engine = prepare(experiment, load("synthetic")).create_engine(0)
    weights, losses = [engine.model.get_weights()], []
    for step in range(STEPS):
        places = np.arange(step * BATCH, (step + 1) * BATCH, dtype=np.int32)[None]
        losses.append(engine.train(step, places, np.array([RATE]))["loss"])
        weights.append(engine.model.get_weights())
    return weights, losses


def assert_equal_weights(first, second, rtol):
    for a, b in zip(first[-1], second[-1], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol)


def features(step):
    split = load("synthetic").train
    places = slice(step * BATCH, (step + 1) * BATCH)
    colors = split.images[places].astype(np.float64).mean((1, 2)) / 64 - 2
    return colors, np.eye(10)[split.labels[places]]


def softmax_gradient(x, targets, w, b):
    logits = x @ w + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    difference = (p - targets) / len(x)
    return x.T @ difference, difference.sum(0), -np.log((p * targets).sum(1)).mean()


@pytest.mark.slow
def test_sam_is_the_papers_algorithm_in_numpy():
    weights, losses = train(sam_rho=0.7)
    w, b = weights[0]
    for step in range(STEPS):
        x, targets = features(step)
        gw, gb, value = softmax_gradient(x, targets, w, b)
        assert losses[step] == pytest.approx(value, rel=1e-12)
        norm = np.sqrt((gw**2).sum() + (gb**2).sum())
        gw, gb, _ = softmax_gradient(x, targets, w + 0.7 * gw / norm, b + 0.7 * gb / norm)
        w, b = w - RATE * gw, b - RATE * gb
    assert_equal_weights(weights, [(w, b)], 1e-9)
    assert np.abs(w - train()[0][-1][0]).max() > 1e-3


@pytest.mark.slow
def test_moving_statistics_are_those_of_sams_first_pass():
    weights, _ = train({"hidden": 4}, sam_rho=0.7)
    for step in range(STEPS):
        mean = (features(step)[0] @ weights[step][0]).mean(0)
        np.testing.assert_allclose(weights[step + 1][3], 0.9 * weights[step][3] + 0.1 * mean, rtol=1e-9)


def test_random_layers_draw_the_same_in_both_of_sams_passes():
    """With hardly any ascent SAM is the plain step: dropout's masks agree, and go on as they would without."""
    plain, sam = (train({"dropout": 0.5}, sam_rho=rho)[0] for rho in (0, 1e-13))
    assert_equal_weights(plain, sam, 1e-9)


@pytest.mark.parametrize("parameters", [{}, {"sam_rho": 0.3, "loss": "squared"}], ids=["plain", "sam"])
def test_accumulated_gradients_are_those_of_the_whole_batch(parameters):
    whole, parts = (train(accumulate=k, **parameters) for k in (1, 4))
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-12)
    assert_equal_weights(whole[0], parts[0], 1e-10)


def test_moving_statistics_follow_every_part():
    weights, _ = train({"hidden": 4}, accumulate=4)
    x, mean = features(0)[0] @ weights[0][0], np.zeros(4)
    for part in range(4):
        mean = 0.9 * mean + 0.1 * x[part::4].mean(0)
    np.testing.assert_allclose(weights[1][3], mean, rtol=1e-9)


def test_parts_must_share_the_batch_evenly():
    with pytest.raises(
        ExperimentError, match=r"batch_size: 16 images .* by 5 parts \(accumulate\); expected a multiple of 5"
    ):
        train(accumulate=5)


@pytest.mark.parametrize(("accumulate", "share"), [(1, 16), (4, 4)])
def test_ghost_groups_must_be_whole(tmp_path, accumulate, share):
    """A share that is no multiple of the groups would be normalized as a whole, without a word."""
    from cifarzoo.training.job import prepare
    from cifarzoo.training.trainer import run

    changes = {"model_parameters": {"ghost_batch_size": 3}, "precision": "float32"}
    given = document(tmp_path, **changes, train_parameters={"batch_size": 16, "accumulate": accumulate})
    one = Experiment.model_validate(given)
    message = f"batch_size: tiny_cnn .* groups of 3 images, which do not divide {share} images"
    with pytest.raises(ExperimentError, match=message):
        run(prepare(one, load("synthetic")), 0)


@pytest.fixture(scope="module")
def tensorflow_run(tmp_path_factory):
    """24 float64 steps of everything at once on TensorFlow, and how to repeat it elsewhere."""
    folder = tmp_path_factory.mktemp("everything")
    model = {"model_parameters": {"ghost_batch_size": 4}}
    changes = model | {
        "init_weights": first_weights(folder, **model),
        "train_parameters": {
            "accumulate": 2,
            "sam_rho": 0.05,
            "loss": "squared",
            "clip_norm": 1.0,
            "weight_decay_mode": "decoupled",
            "momentum_convention": "tensorflow",
            "lr_reference_batch": 64,
            "bias_lr_factor": 4.0,
            "ema_decay": 0,
            "lookahead": {"interval": 3, "start": 6},
            "progressive_resizing": [{"size": 16, "until": 12}],
            "schedule": {"kind": "cosine", "peak": 0.1, "warmup": 4, "duration": 24},
        },
    }
    return finish(start(document(folder / "run", **changes))), changes


@pytest.mark.slow
def test_both_engines_give_the_same_losses(tensorflow_run, tmp_path):
    tensorflow, changes = tensorflow_run
    jax = finish(start(document(tmp_path, **changes), environment={"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}))
    assert tensorflow["losses"][-1] < tensorflow["losses"][0]
    np.testing.assert_allclose(jax["losses"], tensorflow["losses"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_replicas_give_the_losses_of_one(tensorflow_run, tmp_path):
    one, changes = tensorflow_run
    two = finish(start(document(tmp_path, distribution="mirrored", **changes), "--cpus", "2"))
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-8)
    # Of the moving statistics, which training does not use.
    assert two["results"]["test"]["nll"] == pytest.approx(one["results"]["test"]["nll"], rel=1e-8)
