"""The JAX engine against the TensorFlow engine, over devices, and where TensorFlow is not installed."""

import json

import numpy as np
import pytest
from test_engine_tensorflow import document, finish, start, two_workers

JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """50 float64 steps of a small ResNet-like network on both engines from the same weights."""
    folder = tmp_path_factory.mktemp("pair")
    changes = {
        "model": "tiny_resnet",
        "train_parameters": {"schedule": {"kind": "cosine", "peak": 0.01, "duration": 50}},
    }
    first = document(folder / "start", **changes | {"train_parameters": {"schedule": {"kind": "constant",
                     "learning_rate": 1e-9, "duration": 1}, "ema_decay": 0}})  # fmt: skip
    finish(start(first))
    changes["init_weights"] = str(folder / "start/tiny_resnet/seed0/final.weights.h5")
    tensorflow = finish(start(document(folder / "tensorflow", **changes)))
    jax = finish(start(document(folder / "jax", **changes), environment=JAX))
    return tensorflow, jax, changes


def test_both_engines_give_the_same_losses(pair):
    tensorflow, jax, _ = pair
    assert len(jax["losses"]) == 50
    np.testing.assert_allclose(jax["losses"], tensorflow["losses"], rtol=0, atol=1e-9)
    assert jax["results"]["test"]["error"] == tensorflow["results"]["test"]["error"]
    assert jax["results"]["test"]["nll"] == pytest.approx(tensorflow["results"]["test"]["nll"], abs=1e-9)


def test_four_devices_give_the_losses_of_one(pair, tmp_path):
    _, jax, changes = pair
    four = finish(
        start(
            document(tmp_path, **changes), environment=JAX | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
        )
    )
    np.testing.assert_allclose(four["losses"], jax["losses"], rtol=1e-8)


def test_two_processes_give_the_losses_of_one(pair, tmp_path):
    _, jax, changes = pair
    description = document(tmp_path, distribution="multi_worker", **changes)
    processes = [start(description, environment=JAX | worker) for worker in two_workers()]
    chief = finish(processes[0])
    processes[1].communicate(timeout=60)
    assert processes[1].returncode == 0
    np.testing.assert_allclose(chief["losses"], jax["losses"], rtol=1e-8)


def test_a_checkpoint_crosses_engines(pair, tmp_path):
    """Half on one engine, half on the other: the losses of either alone."""
    tensorflow, _, changes = pair
    for name, first, second in (("there", {}, JAX), ("back", JAX, {})):
        half = document(tmp_path / name, **changes)
        stopped = finish(start(half, "--interrupt-after", "20", environment=first))
        assert stopped["type"] == "Interrupted"
        rest = finish(start(half, environment=second))
        np.testing.assert_allclose(rest["losses"], tensorflow["losses"][-len(rest["losses"]) :], rtol=0, atol=1e-9)
        assert 25 <= len(rest["losses"]) <= 30


def test_random_states_cross_engines(tmp_path):
    """Dropout's seeds are saved in other types by each backend; both must take the other's."""
    for name, first, second in (("there", {}, JAX), ("back", JAX, {})):
        description = document(tmp_path / name, model_parameters={"dropout": 0.3})
        assert finish(start(description, "--interrupt-after", "10", environment=first))["type"] == "Interrupted"
        assert finish(start(description, environment=second))["step"] == 24


def test_no_tensorflow_on_this_path(tmp_path):
    """An import hook forbids TensorFlow and its data sets."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Forbidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('tensorflow', 'tensorflow_datasets'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Forbidden())\n"
    )
    from test_engine_tensorflow import HERE

    environment = JAX | {"PYTHONPATH": f"{tmp_path}:{HERE.parent}:{HERE}"}
    found = finish(start(document(tmp_path / "run"), environment=environment))
    assert found["results"]["backend"] == "jax"
    assert json.loads((tmp_path / "run/tiny_cnn/seed0/results.json").read_text())["steps"] == 24


def test_one_program_for_many_steps_equals_one_program_a_step(tmp_path):
    """What accelerators run, on a network without convolutions; in a process of its own for the backend."""
    import os
    import subprocess
    import sys

    from test_engine_tensorflow import HERE

    code = """
import json, sys
import numpy as np
from cifarzoo.data import load
from cifarzoo.training.engines import create_engine
from cifarzoo.training.experiment import Experiment
losses = []
for looped in (False, True):
    experiment = Experiment.model_validate(json.loads(sys.argv[1]))
    engine = create_engine(experiment, load("synthetic"), 3)
    engine.loops_on_device = looped
    found = []
    for first, steps in ((0, 5), (5, 3), (8, 5)):  # a shorter call between two full ones
        places = np.arange(first * 32, (first + steps) * 32, dtype=np.int32).reshape(steps, 32)
        found.append(engine.train(first, places, np.full(steps, 0.01))["loss"])
    losses.append(found + [float(np.abs(v).sum()) for v in engine.state().values()])
print(json.dumps(losses))
"""
    description = document(tmp_path, model="tiny_mlp", train_parameters={"steps_per_call": 5})
    environment = os.environ | JAX | {"PYTHONPATH": f"{HERE.parent}:{HERE}"}
    out = subprocess.run(
        [sys.executable, "-c", code, json.dumps(description)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
    )
    assert out.returncode == 0, out.stderr[-3000:]
    by_step, looped = json.loads(out.stdout.strip().splitlines()[-1])
    np.testing.assert_allclose(looped, by_step, rtol=1e-10)
