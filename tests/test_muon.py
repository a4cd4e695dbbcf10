"""Muon against its formulas in NumPy and against Keras' own, which is for matrices only; which variables it updates."""

import keras
import numpy as np
import pytest
from test_keras_optimizers import RATES, first_weights, gradients_of, of_keras, ours

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.model_graph import supported_sources
from cifarzoo.training.build import build_model
from cifarzoo.training.optimizers.keras_rule import KerasRule
from cifarzoo.training.optimizers.muon import Muon
from cifarzoo.training.optimizers.sgd import SGD


def in_numpy(scale, nesterov, decay):
    """The reference code's update, on [outputs, inputs * height * width] as it has kernels; SGD for the rest."""
    weights = first_weights()
    momenta = [0 * weight for weight in weights]
    for rate in RATES:
        for n, gradient in enumerate(gradients_of(weights)):
            momenta[n] = 0.95 * momenta[n] + 0.05 * gradient
            if n in (1, 3):  # the bias, and the last matrix, which is the classifier
                weights[n] = weights[n] - 0.5 * rate * gradient
                continue
            update = 0.05 * gradient + 0.95 * momenta[n] if nesterov else momenta[n]
            kernel = np.moveaxis(update, -1, 0)
            matrix = kernel.reshape(len(kernel), -1)
            rows, columns = matrix.shape
            x = matrix.T if rows > columns else matrix
            x = x / np.linalg.norm(x)
            for _ in range(5):
                a = x @ x.T
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
            x = x.T if rows > columns else x
            x = x * (0.2 * max(rows, columns) ** 0.5 if scale == "rms" else max(1, rows / columns) ** 0.5)
            step = np.moveaxis(x.reshape(kernel.shape), 0, -1)
            weights[n] = weights[n] * (1 - rate * decay) - rate * step
    return weights


@pytest.mark.parametrize("scale", ["rms", "spectral"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_fifty_steps_as_in_numpy(scale, nesterov):
    rule = Muon(SGD(0.0), 0.5, nesterov=nesterov, weight_decay=0.1, scale=scale)
    for a, b in zip(ours(rule, RATES, in_graph=nesterov), in_numpy(scale, nesterov, 0.1), strict=True):
        # Up to the 1e-7 that is added to the norm.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_fifty_steps_as_in_keras():
    """Where both orthogonalize, on a hidden matrix; Adam updates the bias of both."""
    found = ours(Muon(KerasRule("Adam"), weight_decay=0.05), RATES)
    expected = of_keras("Muon", RATES, weight_decay=0.05)
    for n in (1, 2):
        np.testing.assert_allclose(found[n], expected[n], rtol=1e-6)  # it adds 1e-7 to a norm


def variables_of(model):
    return [variable.path for variable in model.trainable_variables]


def test_muon_updates_kernels_except_the_classifier_and_what_is_excluded():
    from cifarzoo.models.registry import create_model

    model = create_model("cifar_resnet20", shortcut_type="B")
    paths = variables_of(model)
    chosen = [paths[n] for n in Muon(SGD()).chosen(model.trainable_variables, model)]
    assert set(chosen) == {path for path in paths if path.endswith("conv/kernel")} | {
        path for path in paths if path.endswith("/kernel") and "logits" not in path
    }
    fewer = [paths[n] for n in Muon(SGD(), exclude=("stem*",)).chosen(model.trainable_variables, model)]
    assert set(chosen) - set(fewer) == {"stem_conv/kernel"}


def unnamed(frozen=False, heads=1):
    """Two hidden matrices and a classifier, or the product of two, in layers without names; in two nested models."""
    layers = keras.layers
    body = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.ReLU(), layers.Dense(6)])
    inputs = keras.Input((5,))
    outputs = [layers.Dense(3, trainable=not frozen)(inputs) for _ in range(heads)]
    head = keras.Model(inputs, layers.Multiply()(outputs) if heads > 1 else outputs[0])
    inputs = keras.Input((4,))
    hidden = layers.Dense(5)(body(inputs))
    return keras.Model(inputs, layers.Rescaling(2.0)(head(hidden)))


def shapes(model, *exclude):
    variables = model.trainable_variables
    return [tuple(variables[n].shape) for n in Muon(SGD(), exclude=exclude).chosen(variables, model)]


@pytest.mark.parametrize("network", [{}, {"frozen": True}, {"heads": 2}])
def test_the_classifier_is_what_computes_the_logits(network):
    assert shapes(unnamed(**network)) == [(4, 5), (5, 6), (6, 5)]
    body = unnamed(**network).layers[1]
    assert shapes(body) == [(4, 5)]


def test_without_the_graph_the_classifier_is_the_last_matrix(monkeypatch):
    monkeypatch.setattr(supported_sources, "probe", lambda: False)
    monkeypatch.setattr(supported_sources, "_warned", True)
    assert shapes(unnamed()) == [(4, 5), (5, 6), (6, 5)]


def test_unnamed_layers_of_an_experiment_have_the_same_names_however_often_it_is_built():
    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 1}
    document = {"module": __name__, "model": "two_unnamed", "train_parameters": {"schedule": schedule}}
    one = Experiment.model_validate(document)
    for _ in range(2):
        model = build_model(one, 3, 0)
        assert [layer.name for layer in model.layers[1:]] == ["dense", "dense_1", "dense_7"]
        assert shapes(model, "dense_1") == [(3072, 4)]
        with pytest.raises(ExperimentError, match="no layer has the name 'dense_9'; there are dense, dense_1, dense_7"):
            shapes(model, "dense_9")


def two_unnamed(classes):
    """The last layer has a name that looks like one of Keras'."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.Dense(5)]
    return keras.Sequential([keras.Input((32, 32, 3)), *layers, keras.layers.Dense(classes, name="dense_7")])


def test_layers_of_a_model_from_python_keep_the_names_of_its_summary():
    keras.layers.Dense(1)
    layers = [keras.layers.Dense(5, name="dense_5"), keras.layers.Dense(6, name="dense_2"), keras.layers.Dense(3)]
    assert shapes(keras.Sequential([keras.Input((4,)), *layers]), "dense_2") == [(4, 5)]


def test_depthwise_kernels_belong_to_the_rest():
    variables = [keras.Variable(np.zeros(shape)) for shape in ((3, 3, 4, 1), (1, 1, 4), (1, 4), (2, 2), (2, 2))]
    assert Muon(SGD()).chosen(variables) == [3]


@pytest.mark.parametrize("rule", [SGD(), Muon(SGD()), Muon(KerasRule("Adam")), KerasRule("Adam")], ids=repr)
def test_constraints_of_layers_hold_under_every_optimizer(rule):
    norm = keras.constraints.MaxNorm(0.5)
    layers = [keras.layers.Dense(3, kernel_constraint=norm) for _ in range(2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    bound = rule.bind(model.trainable_variables, model)
    weights = [keras.ops.ones_like(variable.value) for variable in model.trainable_variables]
    slots = [keras.ops.convert_to_tensor(value) for value in bound.slots.values()]
    new, _, _ = bound.update(weights, weights, slots, 0.01, 0)
    for weight in new:
        norms = np.linalg.norm(np.asarray(weight), axis=0)
        assert np.all(norms < 0.51) if len(weight.shape) > 1 else np.all(norms > 0.51)


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        (("stm",), "train_parameters.optimizer.exclude: no layer has the name 'stm'"),
        (("*",), "train_parameters.optimizer: the network has no matrix for Muon except the classifier and what"),
    ],
)
def test_what_muon_cannot_update(exclude, message):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(3)(inputs)))
    with pytest.raises(ExperimentError, match=message):
        Muon(SGD(), exclude=exclude).bind(model.trainable_variables)
