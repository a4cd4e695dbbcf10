"""The JAX engine against the TensorFlow engine, over devices, and where TensorFlow is not installed."""

import json

import numpy as np
import pytest
from model_cases import run_python
from test_engine_tensorflow import document, finish, first_weights, start, two_workers
from without_tensorflow import WITHOUT_TENSORFLOW

JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
ENVIRONMENTS = {"tensorflow": {}, "jax": JAX}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """50 float64 steps of a small network on both engines from the same weights.

    Networks of the zoo take XLA minutes in float64 on processors: test_engine_agreement.py.
    """
    folder = tmp_path_factory.mktemp("pair")
    changes = {"train_parameters": {"schedule": {"kind": "cosine", "peak": 0.1, "duration": 50}}}
    changes["init_weights"] = first_weights(folder)
    tensorflow = finish(start(document(folder / "tensorflow", **changes)))
    jax = finish(start(document(folder / "jax", **changes), environment=JAX))
    return tensorflow, jax, changes


def test_both_engines_give_the_same_losses(pair):
    tensorflow, jax, _ = pair
    assert len(jax["losses"]) == 50
    np.testing.assert_allclose(jax["losses"], tensorflow["losses"], rtol=0, atol=1e-9)
    assert jax["results"]["test"]["error"] == tensorflow["results"]["test"]["error"]
    assert jax["results"]["test"]["nll"] == pytest.approx(tensorflow["results"]["test"]["nll"], abs=1e-9)


def test_jax_imports_no_tensorflow_that_is_installed(pair):
    """Keras and TensorBoard would, wherever they find it."""
    tensorflow, jax, _ = pair
    assert tensorflow["imports_tensorflow"] and not jax["imports_tensorflow"]


# The program of a whole call that accelerators run: for two seeds, and what the compiler knows of its loop.
PROGRAMS = """
import json, re, sys
import numpy as np
from cifarzoo.data import load
from cifarzoo.training.job import prepare
from cifarzoo.experiment.schema import Experiment

def lowered(seed, whole):
    engine = prepare(Experiment.model_validate(json.loads(sys.argv[1])), load("synthetic")).create_engine(seed)
    engine.loops_on_device = True
    images, labels = engine.training_arrays()
    arguments = np.int32(seed), np.int32(0), np.int32(4), np.zeros((4, 32), np.int32), np.zeros(4), np.zeros(3)
    return engine.program.compiled_loop.lower(engine.take_state(), images, labels, *arguments, size=32, whole=whole)

def lengths(program):
    return re.findall(r'known_trip_count\\W+n\\W+(\\d+)', program.compile().as_text())

first, second, open_ended = lowered(0, True), lowered(1, True), lowered(0, False)
print(json.dumps([first.as_text() == second.as_text(), lengths(first), lengths(open_ended)]))
"""


@pytest.mark.slow
def test_one_program_of_known_length_serves_all_seeds(tmp_path):
    description = json.dumps(document(tmp_path, model="tiny_linear", model_parameters={"dropout": 0.2}))
    same, known, unknown = json.loads(run_python(PROGRAMS, description, backend="jax").splitlines()[-1])
    assert same and "4" in known and "4" not in unknown


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    return finish(start(document(tmp_path_factory.mktemp("one")), environment=JAX))


@pytest.mark.slow
def test_four_devices_give_the_losses_of_one(one_device, tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    four = finish(start(document(tmp_path), environment=JAX | flags))
    np.testing.assert_allclose(four["losses"], one_device["losses"], rtol=1e-8)
    assert (one_device["replicas"], four["replicas"]) == (1, 4)


SHARED = """
import json, os, re, sys
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import numpy as np
from cifarzoo.data import load
from cifarzoo.training.job import prepare
from cifarzoo.experiment.schema import Experiment

def train(loops, **changes):
    engine = prepare(Experiment.model_validate(json.loads(sys.argv[1]) | changes), load("synthetic")).create_engine(0)
    engine.loops_on_device = loops
    places = np.arange(96, dtype=np.int32).reshape(3, 32)
    return engine, engine.train(0, places, np.full(3, 0.01))["loss"]

one, loss = train(False, distribution="none")
four, by_step = train(False)
images, labels = four.training_arrays()
arguments = (four.take_state(), images, labels, np.int32(3), np.arange(32, dtype=np.int32), np.float64(0.1), 0)
text = four.program.compiled_step.lower(*arguments, size=32).compile().as_text()
batches = {int(n) for n in re.findall(r" = f64\\[(\\d+),16,16,8\\]", text)}
print(json.dumps({
    "losses": [loss, by_step],
    "replicas": [one.replicas, four.replicas],
    "shares": [one.images_at_once, four.images_at_once],
    "batches": sorted(batches),
}))
"""


LOOPED = """
_, loss = train(False, distribution="none")
_, looped = train(True)
engine, rounded = train(False, distribution="none", precision="bfloat16")
print(json.dumps({
    "losses": [loss, looped, rounded],
    "types": sorted({str(v.dtype) for v in engine.state().values() if v.dtype.kind not in "iu"}),
    "compute": engine.model.layers[2].compute_dtype,
}))
"""


def mixed_up(folder, **changes):
    """An experiment whose augmentation mixes the images of a batch, as JSON."""
    augmentation = ["crop", "flip", {"mixup": {"per": "image"}}]
    return json.dumps(document(folder, augmentation=augmentation, train_parameters={"steps_per_call": 4}, **changes))


@pytest.mark.slow
def test_devices_share_a_batch(tmp_path):
    """Of the 32 images' activations a device has eight; MixUp mixes over all of them."""
    found = json.loads(run_python(SHARED, mixed_up(tmp_path), backend="jax").splitlines()[-1])
    one, four = found["losses"]
    assert four == pytest.approx(one, rel=1e-9)
    assert found["replicas"] == [1, 4] and found["batches"] == [8]
    assert found["shares"] == [32, 32]  # groups of ghost BatchNormalization are cut from the whole batch


@pytest.mark.slow
def test_the_accelerators_loop_over_devices_and_in_bfloat16(tmp_path):
    """The loop gives the losses of single steps; state stays in float32 where the arithmetic is bfloat16."""
    code = SHARED[: SHARED.index("one, loss")] + LOOPED
    found = json.loads(run_python(code, mixed_up(tmp_path), backend="jax").splitlines()[-1])
    one, looped, rounded = found["losses"]
    assert looped == pytest.approx(one, rel=1e-9)
    assert rounded == pytest.approx(one, rel=0.1)  # other initial weights: they are drawn in the model's type
    assert found["types"] == ["float32"] and found["compute"] == "bfloat16"


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(one_device, tmp_path):
    description = document(tmp_path, distribution="multi_worker")
    processes = [start(description, environment=JAX | worker) for worker in two_workers()]
    chief = finish(processes[0])
    processes[1].communicate(timeout=60)
    assert processes[1].returncode == 0
    np.testing.assert_allclose(chief["losses"], one_device["losses"], rtol=1e-8)
    assert chief["replicas"] == 2


@pytest.mark.parametrize("first", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_checkpoint_crosses_engines(pair, tmp_path, first):
    """Half on one engine, half on the other: the losses of either alone."""
    tensorflow, _, changes = pair
    half = document(tmp_path, **changes)
    stopped = finish(start(half, "--interrupt-after", "20", environment=ENVIRONMENTS[first]))
    assert stopped["type"] == "Interrupted"
    rest = finish(start(half, environment=ENVIRONMENTS["jax" if first == "tensorflow" else "tensorflow"]))
    np.testing.assert_allclose(rest["losses"], tensorflow["losses"][-len(rest["losses"]) :], rtol=0, atol=1e-9)
    assert 25 <= len(rest["losses"]) <= 30


@pytest.mark.slow
@pytest.mark.parametrize("first", ["jax", "tensorflow"])
def test_random_states_cross_engines(tmp_path, first):
    """Dropout's seeds are saved in other types by each backend; both must take the other's."""
    description = document(tmp_path, model_parameters={"dropout": 0.3})
    stopped = finish(start(description, "--interrupt-after", "10", environment=ENVIRONMENTS[first]))
    assert stopped["type"] == "Interrupted"
    rest = finish(start(description, environment=ENVIRONMENTS["jax" if first == "tensorflow" else "tensorflow"]))
    assert rest["step"] == 24


@pytest.mark.slow
def test_no_tensorflow_on_this_path(tmp_path):
    """As where neither TensorFlow nor its data sets are installed."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
    from test_engine_tensorflow import HERE

    environment = JAX | {"PYTHONPATH": f"{tmp_path}:{HERE.parent}:{HERE}"}
    found = finish(start(document(tmp_path / "run"), environment=environment))
    assert found["results"]["backend"] == "jax"
    assert json.loads((tmp_path / "run/tiny_cnn/seed0/results.json").read_text())["steps"] == 24


@pytest.mark.slow
def test_seeds_at_once_are_the_seeds_alone(tmp_path):
    """Three seeds in one program, one of them already half way: each ends with the weights that it gets by itself."""
    import os
    import subprocess
    import sys

    from test_engine_tensorflow import HERE

    code = """
import json, sys, time
import numpy as np
from cifarzoo.data import load
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training.job import prepare
from cifarzoo.training.trainer import run, run_together
alone, together = (Experiment.model_validate(json.loads(text)) for text in sys.argv[1:])
data = load("synthetic")
alone, together = prepare(alone, data), prepare(together, data)
for seed in alone.seeds:
    run(alone, seed)
started = time.perf_counter()
try:
    run(together, 1, deadline=time.monotonic())  # stops after one call
except Exception as stop:
    print(stop)
outcomes = run_together(together, together.seeds)
assert not any(isinstance(found, Exception) for found in outcomes), outcomes
assert sum(found.seconds for found in outcomes) < time.perf_counter() - started  # each has its share
for seed in alone.seeds:
    one, other = (job.folder(seed).load_checkpoint()[0] for job in (alone, together))
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-9, atol=1e-12, err_msg=name)
"""
    changes = {
        "model": "tiny_linear",
        "model_parameters": {"hidden": 8, "dropout": 0.2},
        "train_parameters": {"progressive_resizing": [{"size": 16, "until": 10}]},
        "seeds": [0, 1, 2],
        "seeds_at_once": 3,
    }
    documents = [json.dumps(document(tmp_path / name, **changes)) for name in ("alone", "together")]
    environment = os.environ | JAX | {"PYTHONPATH": f"{HERE.parent}:{HERE}"}
    found = subprocess.run(
        [sys.executable, "-c", code, *documents], capture_output=True, text=True, env=environment, timeout=900
    )
    assert found.returncode == 0, found.stderr[-3000:]
    assert "stopped and saved" in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, parameters, batch, calls",
    [("tiny_mlp", {"blocks": 4}, 32, (5, 3, 5)), ("tiny_residual_cnn", {}, 4, (2, 1, 2))],
)
def test_one_program_for_many_steps_equals_one_program_a_step(tmp_path, model, parameters, batch, calls):
    """What accelerators run, repeated blocks as a loop; a shorter call between two full ones.

    In a process of its own for the backend.
    """
    import os
    import subprocess
    import sys

    from test_engine_tensorflow import HERE

    code = """
import json, sys
import numpy as np
from cifarzoo.data import load
from cifarzoo.training import engines as engine_modules
from cifarzoo.training.job import prepare
from cifarzoo.keras_internals import block_loops, block_loops_jax
from cifarzoo.experiment.schema import Experiment
losses = []
for looped, grouped in ((False, False), (True, False), (True, True)):
    block_loops_jax.MIN_COPIES_ON_CPU, block_loops.MIN_RECOMPUTED_COPIES = (3, 4) if looped else (1000, 1000)
    experiment = Experiment.model_validate(json.loads(sys.argv[1]))
    engines = [prepare(experiment, load("synthetic")).create_engine(seed) for seed in (3, 4)]
    for engine in engines:
        engine.loops_on_device = looped
    group = engine_modules.current().create_group(engines) if grouped else None
    found = []
    first, batch = 0, experiment.train_parameters.batch_size
    for steps in json.loads(sys.argv[2]):
        places = np.arange(first * batch, (first + steps) * batch, dtype=np.int32).reshape(steps, batch)
        rates = np.full(steps, 0.01)
        if grouped:
            sums = group.train(first, np.stack([places, places]), rates)
        else:
            sums = [engine.train(first, places, rates) for engine in engines]
        found += [s["loss"] for s in sums]
        first += steps
    found += [float(np.abs(v).sum()) for e in engines for v in e.state().values()]
    losses.append(found + engines[0].predict("test").ravel()[:50].tolist())
print(json.dumps(losses))
"""
    lengths = {"steps_per_call": calls[0], "batch_size": batch}
    description = document(tmp_path, model=model, model_parameters=parameters, train_parameters=lengths)
    environment = os.environ | JAX | {"PYTHONPATH": f"{HERE.parent}:{HERE}"}
    out = subprocess.run(
        [sys.executable, "-c", code, json.dumps(description), json.dumps(calls)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=1800,
    )
    assert out.returncode == 0, out.stderr[-3000:]
    by_step, looped, grouped = json.loads(out.stdout.strip().splitlines()[-1])
    np.testing.assert_allclose(looped, by_step, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(grouped, by_step, rtol=1e-9, atol=1e-12)
