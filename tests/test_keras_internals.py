"""Only one package uses Keras' internals, and training works without each of them."""

import json
import logging
import subprocess
import types

import keras
import numpy as np
import pytest
from foreign_internals import foreign_internals
from model_cases import ROOT, run_python

from cifarzoo.errors import ExperimentError, ModelError
from cifarzoo.keras_internals import (
    batch_statistics,
    block_loops,
    convolution_gradients,
    fast_group_norm,
    fused_batch_norm,
    grouped_convolution,
    layer_names,
    model_building,
    model_graph,
    precision,
    pure_optimizers,
    quiet_devices,
    without_tensorflow,
)
from cifarzoo.keras_internals.support import INTERNALS, Internal, parameters, private_module

SRC = "keras" + ".src"  # in two pieces, so that a search for it finds uses only
PACKAGE = ROOT / "cifarzoo" / "keras_internals"
# The JAX backend's convolution is not what Keras calls on TensorFlow, where these tests run.
FOR_JAX = {"fast gradients of convolutions"}
FOR_TENSORFLOW = {
    "fused BatchNormalization",
    "shared variable names",
    "a quiet search for devices",
    "optimizers as pure functions",
}


def test_no_other_package_uses_private_parts():
    files = [path for path in (ROOT / "cifarzoo").rglob("*.py") if PACKAGE not in path.parents]
    assert len(files) > 80
    found = {str(path.relative_to(ROOT)): uses for path in files if (uses := foreign_internals(path))}
    assert not found
    borrowed = [path.name for path in files if "private_module" in path.read_text(encoding="utf-8")]
    assert not borrowed


def test_the_private_tree_is_named_nowhere_else():
    """Tests, benchmarks, notebooks and documents included."""
    search = ["git", "grep", "--fixed-strings", SRC, "--", ":!cifarzoo/keras_internals"]
    found = subprocess.run(search, cwd=ROOT, capture_output=True, text=True)
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("line", "use"),
    [
        (f"import {SRC}", SRC),
        (f"from {SRC}.backend import jax", f"{SRC}.backend.jax"),
        ("from tensorflow.python.eager import context", "tensorflow.python.eager.context"),
        ("from keras import src", SRC),
        (f"{SRC}.backend.nn", f"{SRC}.backend.nn"),
        (f"importlib.import_module('{SRC}.backend')", f"{SRC}.backend"),
        ("model._flatten_layers()", "model._flatten_layers"),
        ("getattr(layer, '_inbound_nodes', [])", "_inbound_nodes"),
        ("model.__dict__['_run_through_graph'] = 0", "_run_through_graph"),
        ("keras.layers.BatchNormalization.call = call", "keras.layers.BatchNormalization.call is replaced"),
        ("self._model._value", "self._model._value"),
        ("self._value + super()._value + cls._value", None),
        ("other._mine", None),
        ("entry._replace(tag='')", None),
        ("model.__dict__.keys()", None),
        (f"'The only package that uses {SRC}.'", None),
    ],
)
def test_private_parts_are_recognized(tmp_path, line, use):
    path = tmp_path / "module.py"
    path.write_text(f"class Own:\n    def __init__(self):\n        self._mine = 0\n{line}\n", encoding="utf-8")
    assert [found.partition(": ")[2] for found in foreign_internals(path)][:1] == ([use] if use else [])


def test_this_keras_supports_every_part():
    assert {name for name, part in INTERNALS.items() if not part()} == FOR_JAX


def test_this_keras_supports_every_part_on_jax():
    code = """
import json
import cifarzoo.keras_internals.fast_paths as paths
from cifarzoo.keras_internals import batch_statistics, block_loops, convolution_gradients, grouped_convolution
from cifarzoo.keras_internals import layer_names, model_graph, precision, without_tensorflow
from cifarzoo.keras_internals.support import INTERNALS
print(json.dumps({name: part() for name, part in INTERNALS.items()}))
"""
    supported = json.loads(run_python(code, backend="jax").splitlines()[-1])
    assert set(supported) == set(INTERNALS) - FOR_TENSORFLOW
    assert all(supported.values())


def renamed(function):
    """The same function, called by positions, whose parameters have other names."""
    return lambda *arguments, **keywords: function(*arguments, **keywords)


def change(monkeypatch, name):
    """Change Keras as another release might, so that the part of this name cannot work."""
    if name == "loops over repeated blocks":
        graph = private_module("ops.function").Function
        monkeypatch.setattr(graph, "_run_through_graph", renamed(graph._run_through_graph))
    elif name == "scopes of loops":
        monkeypatch.delattr(private_module("backend.common.stateless_scope"), "get_stateless_scope")
    elif name == "fast gradients of convolutions":
        nn = private_module("backend.jax.nn")
        monkeypatch.setattr(private_module("backend"), "nn", nn)
        assert convolution_gradients.supported()
        monkeypatch.setattr(nn, "conv", renamed(nn.conv))
    elif name in ("fused BatchNormalization", "BatchNormalization by batch statistics"):
        monkeypatch.setattr(keras.layers.BatchNormalization, "call", renamed(keras.layers.BatchNormalization.call))
    elif name == "fast GroupNormalization":
        monkeypatch.setattr(keras.layers.GroupNormalization, "call", renamed(keras.layers.GroupNormalization.call))
    elif name == "replacing a layer's convolution":
        monkeypatch.delattr(private_module("layers.convolutional.base_conv").BaseConv, "convolution_op")
    elif name == "listing nested layers":
        monkeypatch.delattr(keras.Layer, "_flatten_layers")
    elif name == "reading a model's graph":
        monkeypatch.setattr(keras.Operation, "_inbound_nodes", property(lambda self: None), raising=False)
    elif name == "finding a model's last layers":
        node = private_module("ops.node").Node
        monkeypatch.setattr(node, "input_tensors", property(lambda self: None))
    elif name == "export of fresh models":
        moved = property(lambda self: None, lambda self, value: None)
        monkeypatch.setattr(keras.Layer, "_called", moved, raising=False)
    elif name == "running without TensorFlow":
        monkeypatch.setattr(private_module("utils.module_utils"), "tensorflow", types.SimpleNamespace(available=True))
    elif name == "optimizers as pure functions":
        optimizer = private_module("backend.tensorflow.optimizer").TFOptimizer
        monkeypatch.setattr(optimizer, "_filter_empty_gradients", lambda self, grads: None, raising=False)
    elif name == "float64":
        monkeypatch.delattr(private_module("backend.common.dtypes"), "BIT64_TO_BIT32_DTYPE")
    elif name == "shared variable names":
        import tensorflow as tf

        monkeypatch.delattr(tf, "variable_creator_scope")
    elif name == "a quiet search for devices":
        from tensorflow.python import pywrap_tfe

        monkeypatch.delattr(pywrap_tfe, "TFE_NewContext")
    elif name == "numbering layers from the start":
        monkeypatch.setattr(private_module("utils.naming"), "uniquify", lambda name: f"{name}_0")


PARTS = {
    "loops over repeated blocks": block_loops.supported,
    "scopes of loops": block_loops.supported,
    "fast gradients of convolutions": convolution_gradients.supported,
    "fused BatchNormalization": fused_batch_norm.supported,
    "fast GroupNormalization": fast_group_norm.supported,
    "BatchNormalization by batch statistics": batch_statistics.supported,
    "replacing a layer's convolution": grouped_convolution.supported,
    "listing nested layers": model_graph.supported_layers,
    "reading a model's graph": model_graph.supported_connections,
    "finding a model's last layers": model_graph.supported_sources,
    "export of fresh models": model_graph.supported_export,
    "running without TensorFlow": without_tensorflow.supported,
    "optimizers as pure functions": pure_optimizers.supported,
    "float64": precision.supported,
    "shared variable names": model_building.supported,
    "a quiet search for devices": quiet_devices.supported,
    "numbering layers from the start": layer_names.supported,
}


def test_every_part_has_a_case():
    assert set(PARTS.values()) == set(INTERNALS.values())


@pytest.mark.parametrize("name", PARTS)
def test_a_changed_keras_is_noticed(monkeypatch, name):
    change(monkeypatch, name)
    assert not PARTS[name]()


def test_a_part_warns_once_and_names_the_version(caplog):
    part = Internal("a part", "something is slow", lambda: 1 / 0)
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        assert not any(part.or_warn() for _ in range(3))
    assert caplog.messages == [f"Keras {keras.__version__} does not support a part: something is slow"]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.slow
def test_training_runs_without_any_of_them(backend):
    """One warning per part, and the same numbers up to rounding."""
    code = "import without_internals; without_internals.main()"
    results = json.loads(run_python(code, backend=backend).splitlines()[-1])
    assert results["warnings with"] == []
    parts = {
        "tensorflow": {"shared variable names", "fused BatchNormalization"},
        "jax": {"running without TensorFlow", "fast gradients of convolutions"},
    }[backend] | {
        "loops over repeated blocks",
        "replacing a layer's convolution",
        "listing nested layers",
        "reading a model's graph",
        "export of fresh models",
        "numbering layers from the start",
    }
    assert len(results["warnings without"]) == len(parts)
    for part in parts:
        (message,) = [line for line in results["warnings without"] if f"does not support {part}: " in line]
        assert message.startswith(f"Keras {keras.__version__} ")
    with_them, without = results["with"], results["without"]
    np.testing.assert_allclose(without["losses"], with_them["losses"], rtol=1e-4)
    np.testing.assert_allclose(without["logits"], with_them["logits"], rtol=1e-2, atol=1e-3)
    assert (without["shape"], without["nodes"]) == (with_them["shape"], with_them["nodes"])


def test_what_has_no_plain_counterpart_raises(monkeypatch):
    for part in (fused_batch_norm.supported, batch_statistics.supported):
        monkeypatch.setattr(part, "probe", lambda: False)
    with pytest.raises(ExperimentError, match="BatchNormalization cannot be synchronized over replicas"):
        with fused_batch_norm.fused_batch_normalization(synchronized=True):
            pass
    monkeypatch.setattr(pure_optimizers.supported, "probe", lambda: False)
    with pytest.raises(ExperimentError, match="train_parameters.optimizer: Nadam needs backend: jax with Keras 3"):
        pure_optimizers.pure.__wrapped__(keras.optimizers.Nadam)  # `pure` may know it from another test
    with pytest.raises(ModelError, match='use batch_norm="inference"'):
        with batch_statistics.batch_statistics():
            pass


def test_float64_needs_the_table_except_on_tensorflow(monkeypatch):
    monkeypatch.setattr(precision.supported, "probe", lambda: False)
    with precision.arithmetic("float64"):  # TensorFlow's types need no table
        assert keras.config.floatx() == "float64"
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExperimentError, match="precision: float64 needs backend: tensorflow"):
        with precision.arithmetic("float64"):
            pass
    assert keras.config.floatx() == "float32"


def test_nested_layers_are_found_either_way(monkeypatch):
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model = keras.Sequential([keras.Input((4,)), inner, keras.layers.ReLU()])
    expected = [layer.name for layer in model_graph.all_layers(model)]
    monkeypatch.setattr(model_graph.supported_layers, "probe", lambda: False)
    monkeypatch.setattr(model_graph.supported_layers, "_warned", True)
    found = {layer.name for layer in model_graph.all_layers(model)}
    assert {model.name, inner.name, inner.layers[-1].name, model.layers[-1].name} <= found
    assert found <= set(expected)


def test_probing_leaves_no_trace():
    """Automatic names of the user's layers, and the random numbers of the next model, stay what they were."""

    def build():
        keras.utils.clear_session()
        keras.utils.set_random_seed(3)
        for part in probes:
            part()
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        return layer.name, layer.get_weights()[0].tolist()

    probes = []
    plain = build()
    probes = list(INTERNALS.values())
    block_loops._sample_model.cache_clear()
    assert build() == plain


def test_parameters_are_named():
    assert parameters(lambda a, b=1, *, c: None) == ["a", "b", "c"]
