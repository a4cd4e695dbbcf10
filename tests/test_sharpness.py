"""Sharpness against exact matrices of small networks, and what it does with arguments and bad input."""

import json
import os
import subprocess
import sys
from typing import get_args

import keras
import numpy as np
import pytest
from sharpness_exact import CHUNK, CLASSES, IMAGES, data, float64_network, network, toy_dataset
from test_cli import ROOT, error_line, run
from without_tensorflow import WITHOUT_TENSORFLOW

from cifarzoo.errors import DataError, ModelError
from cifarzoo.evaluation import sharpness
from cifarzoo.evaluation.sharpness import LossFunction, estimate_traces
from cifarzoo.evaluation.sharpness.estimators import mean_and_error, rademacher
from cifarzoo.experiment.train_parameters import LossName
from cifarzoo.training.losses import LOSSES

BACKENDS = ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Exact values and estimates of one backend, each computed once in a process of its own."""
    found = {}

    def of(backend):
        if backend not in found:
            out = tmp_path_factory.mktemp(backend) / "out.json"
            environment = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
            path = f"{ROOT}:{ROOT / 'tests'}"
            if backend == "jax":
                (out.parent / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
                path = f"{out.parent}:{path}"
            subprocess.run(
                [sys.executable, ROOT / "tests/sharpness_exact.py", out],
                check=True,
                timeout=600,
                env=os.environ | environment | {"PYTHONPATH": path},
            )
            found[backend] = json.loads(out.read_text())
        return found[backend]

    return of


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.slow
def test_products_are_exact(compared, backend, loss):
    found = compared(backend)
    assert found["parameters"] <= 2000
    assert found["losses"][loss]["product_error"] < 1e-9
    np.testing.assert_allclose(found["losses"][loss]["form_errors"], 0, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.slow
def test_traces_are_within_two_standard_errors(compared, backend, loss):
    """The first seed within 2 standard errors; all three as far off as their standard errors say, and no further."""
    found = compared(backend)["losses"][loss]
    for measure, exact in found["exact"].items():
        values, errors, converged = np.transpose([run[measure] for run in found["estimates"]])
        np.testing.assert_array_equal(converged, errors <= 0.05 * np.abs(values))
        distances = (values - exact) / errors
        assert abs(distances[0]) < 2, measure
        # The mean square of three standard normal numbers is between 0.024 and 4.3 with probability 0.99.
        assert 0.024 < np.mean(distances**2) < 4.3, measure


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_largest_eigenvalue(compared, backend, loss):
    found = compared(backend)["losses"][loss]
    value, residual, exact = found["eigenvalue"]
    assert value == pytest.approx(exact, rel=1e-5)
    assert abs(value - exact) <= residual <= 1e-4 * value
    assert found["eigenvector_error"] <= residual + 1e-9


@pytest.mark.slow
def test_backends_agree(compared):
    """The probes are the same on both, and so are the estimates, up to rounding."""
    first, second = (compared(backend)["losses"]["cross_entropy"] for backend in ("tensorflow", "jax"))
    np.testing.assert_allclose(first["epsilon_sharpness"], second["epsilon_sharpness"], rtol=1e-6)
    assert first["epsilon_sharpness"] > 0


@pytest.fixture(scope="module")
def small():
    """The network in float64, with its data."""
    return float64_network(), *data()


def test_weight_decay_adds_exactly_its_term(small):
    model = small[0]
    bare = LossFunction(*small, chunk=IMAGES)
    plain = estimate_traces(bare, max_products=1)
    loss, gradient = bare.gradient()
    ones = np.ones(bare.parameters)
    product = bare.hessian_vector(ones)
    for decay_all in (False, True):
        kept = [np.full(int(np.prod(v.shape)), decay_all or len(v.shape) > 1) for v in model.trainable_variables]
        decayed = np.concatenate(kept)
        loss_function = LossFunction(*small, weight_decay=0.1, decay_all=decay_all, chunk=IMAGES)
        assert loss_function.decayed == decayed.sum()
        found = estimate_traces(loss_function, max_products=1)
        added = found["hessian_trace"].value - plain["hessian_trace"].value
        assert added == pytest.approx(0.1 * decayed.sum(), rel=1e-10)
        assert found["ntk_trace"].value == pytest.approx(plain["ntk_trace"].value, rel=1e-12)
        weights = loss_function.weights * decayed
        decayed_loss, decayed_gradient = loss_function.gradient()
        assert decayed_loss - loss == pytest.approx(0.05 * weights @ weights)
        np.testing.assert_allclose(decayed_gradient - gradient, 0.1 * weights, atol=1e-12)
        np.testing.assert_allclose(loss_function.hessian_vector(ones) - product, 0.1 * decayed, atol=1e-12)


def test_batch_statistics(small):
    """The loss is that of the network called with the batch's statistics, and the moving ones stay as they are."""
    model, images, labels = small
    before = [np.array(w) for w in model.get_layer("norm").get_weights()]
    keep = slice(0, CHUNK)
    loss_function = LossFunction(model, images[keep], labels[keep], batch_norm="batch", chunk=CHUNK)
    x = images[keep]
    for layer in model.layers[1:]:
        options = {"training": True} if layer.name == "norm" else {}
        x = layer(x, **options)
    z = np.asarray(x)
    expected = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(CHUNK), labels[keep]])
    model.get_layer("norm").set_weights(before)
    assert loss_function.loss() == pytest.approx(expected, rel=1e-10)
    inference = LossFunction(model, images[keep], labels[keep], chunk=CHUNK).loss()
    assert abs(loss_function.loss() - inference) > 1e-3
    v = rademacher(loss_function.parameters, 0).astype(float)
    form = loss_function.quadratic_forms(v, loss_function.chunks[0])[0]
    assert form == pytest.approx(v @ loss_function.hessian_vector(v), rel=1e-9)
    for old, new in zip(before, model.get_layer("norm").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_stops_by_precision(small):
    """A precision four times finer needs about sixteen times as many probes; a limit is kept and reported."""
    model, images, labels = small
    loss_function = LossFunction(model, images[:CHUNK], labels[:CHUNK], chunk=CHUNK)
    rough, fine = (estimate_traces(loss_function, ["ntk_trace"], precision=p)["ntk_trace"] for p in (0.08, 0.02))
    assert rough.converged and fine.converged and fine.standard_error <= 0.02 * fine.value < rough.standard_error
    assert 8 < fine.products / rough.products < 32
    limited = estimate_traces(loss_function, precision=1e-6, max_products=20)["hessian_trace"]
    assert limited.products == 20 and not limited.converged
    few = estimate_traces(loss_function, precision=1e9, max_products=1000)["hessian_trace"]
    assert few.products == 10


def test_standard_error_is_the_spread_of_the_mean():
    """Unequal chunks with unlike traces: many repetitions scatter as their standard errors say."""
    random = np.random.default_rng(0)
    shares, means, spreads = np.array([0.5, 0.3, 0.2]), np.array([10, 0, -5]), np.array([1, 2, 3])
    samples = means + spreads * random.normal(size=(2000, 6, 3))
    found = [mean_and_error(s[:, :, None], shares) for s in samples]
    values, errors = (np.array([f[k][0] for f in found]) for k in (0, 1))
    assert values.mean() == pytest.approx(4, abs=0.05)
    assert values.std() == pytest.approx(np.sqrt((errors**2).mean()), rel=0.05)
    single = [mean_and_error(s[None], np.full(12, 1 / 12)) for s in random.normal(3, 2, size=(2000, 12, 1))]
    assert np.std([v for v, _ in single]) == pytest.approx(np.sqrt(np.mean([e**2 for _, e in single])), rel=0.05)
    assert np.isinf(mean_and_error(np.ones((3, 2, 1)), np.array([0.5, 0.5]))[1]).all()


def test_every_loss_of_training_can_be_measured():
    assert set(LOSSES) == set(get_args(LossName))


def test_probes_are_signs():
    probe = rademacher(100_001, 1, 2, 3)
    assert probe.dtype == np.int8 and set(probe) == {-1, 1} and abs(probe.mean(dtype=float)) < 0.02
    assert not np.array_equal(probe, rademacher(100_001, 1, 2, 4))


def test_epsilon_sharpness_of_a_quadratic():
    """A linear model under squared loss with one class: the maximum over the box's corners is known by enumeration."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    model.set_weights([np.array([[0.5], [-1.0], [2.0]])])
    images, labels = np.eye(3, dtype="float32") + 0.25, np.zeros(3, int)
    found = sharpness.epsilon_sharpness(LossFunction(model, images, labels, loss="squared"), epsilon=0.1)

    def loss(w):
        return np.mean((images @ w - 1) ** 2) / 2

    w = np.array([0.5, -1.0, 2.0])
    corners = [w + 0.1 * (np.abs(w) + 1) * s for s in np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T]
    expected = 100 * (max(map(loss, corners)) - loss(w)) / (1 + loss(w))
    assert found.value == pytest.approx(expected, rel=1e-5) and found.converged


@pytest.fixture(scope="module")
def dataset():
    return toy_dataset()


def test_rows_and_normalization(small, dataset):
    options = {"measures": ["hessian_trace", "ntk_trace"], "max_products": 1, "chunk": CHUNK}
    rows = {n: sharpness.measure(small[0], dataset, ["train", "test"], normalization=n, **options)
            for n in ("mean", "sum", "parameters")}  # fmt: skip
    assert [(row["on"], row["images"]) for row in rows["mean"]] == [("train", IMAGES)] * 2 + [("test", 20)] * 2
    for mean, total, each in zip(*rows.values(), strict=True):
        assert total["value"] == pytest.approx(mean["value"] * mean["images"])
        assert each["value"] == pytest.approx(mean["value"] / 408)


def test_bad_arguments_are_named(small, dataset):
    model, images, labels = small
    for options, message in (
        ({"loss": "hinge"}, "loss 'hinge': expected cross_entropy or squared"),
        ({"batch_norm": "train"}, "expected inference or batch"),
        ({"chunk": 0}, "chunk >= 1"),
    ):
        with pytest.raises(ModelError, match=message):
            LossFunction(model, images, labels, **options)
    with pytest.raises(DataError, match="got 37 and 3"):
        LossFunction(model, images, labels[:3])
    with pytest.raises(DataError, match="labels 1-4"):
        LossFunction(model, images, labels + 1)
    with pytest.raises(ModelError, match="returns probabilities"):
        LossFunction(network(activation="softmax"), images, labels)
    with pytest.raises(ModelError, match="returns probabilities"):
        LossFunction(keras.Sequential([network(), keras.layers.Softmax()]), images, labels)
    with pytest.raises(DataError, match=r"takes \(None, 9, 9, 3\), images are"):
        sharpness.measure(keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Flatten()]), dataset)
    with pytest.raises(DataError, match="5 outputs, toy has 4 classes"):
        sharpness.measure(network(outputs=CLASSES + 1), dataset)
    with pytest.raises(ModelError, match="measure 'trace' does not exist"):
        sharpness.measure(model, dataset, measures=["trace"])
    with pytest.raises(DataError, match="split 'all'"):
        sharpness.measure(model, dataset, on=["all"])
    with pytest.raises(DataError, match="batch_size 1000 does not fit the 37"):
        sharpness.measure(model, dataset)


def test_weights_that_are_not_finite_are_named(small):
    model, images, labels = network(), *small[1:]
    kernel = np.array(model.get_layer("logits").kernel)
    kernel[0, 0] = np.nan
    model.get_layer("logits").kernel.assign(kernel)
    with pytest.raises(DataError, match="the weights hold NaN or infinity"):
        LossFunction(model, images, labels)


def test_command_errors_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "not a finished run" in error_line(run("sharpness", "empty", cwd=tmp_path))
    line = error_line(run("sharpness", "cifar_resnet20", "--compat", "flax", cwd=tmp_path))
    assert "--compat flax: expected cifar_jax" in line


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_command_on_a_published_model(tmp_path, backend):
    """From name to JSON; `test_backends_agree` compares the values."""
    arguments = ["--argument", "block_type=original", "--argument", "shortcut_type=A", "--dataset", "synthetic"]
    found = run("sharpness", "cifar_resnet20", *arguments, "--batch-size", 40, "--chunk", 20, "--measure",
                "hessian_trace", "--max-products", 2, "--format", "json", cwd=tmp_path,
                KERAS_BACKEND=backend, JAX_PLATFORMS="cpu")  # fmt: skip
    assert found.returncode == 0, found.stderr
    (row,) = json.loads(found.stdout)
    assert row["images"] == 40 and row["products"] == 2 and not row["converged"]
