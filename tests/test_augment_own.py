"""The user's own augmentations: functions of a module, and layers of Keras, on both engines."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from model_cases import run_python

from cifarzoo.augment.entries import specs_of
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from

pytest.importorskip("tensorflow")

PAGE = Path(__file__).parents[1] / "docs" / "augmentation.md"
BATCH = 12

OWN = """
import os
import random

import keras
import numpy as np
from keras import ops


def shift(images, labels, draws, by=10.0):
    return images + by * draws.uniform(1)[:, :, None, None] + draws.shared(1)


def swap(images, labels, draws):
    return images, 9 - labels


def halves(images, labels, draws):
    return images, 0.5 * ops.one_hot(labels, 10) + 0.5 * ops.one_hot(ops.flip(labels), 10)


def smaller(images, labels, draws):
    return images[:, ::2]


def nothing(images, labels, draws):
    pass


def long_labels(images, labels, draws):
    return images, ops.concatenate([labels, labels])


def breaks(images, labels, draws):
    return images @ labels


def by_numpy(images, labels, draws):
    return images + np.random.rand()


def by_python(images, labels, draws):
    return images + random.random()


def by_new_generator(images, labels, draws):
    return images + np.random.default_rng().normal(size=3)


GENERATOR = np.random.default_rng(0)


def by_generator_of_the_module(images, labels, draws):
    return images + GENERATOR.normal(size=3)


def by_keras(images, labels, draws):
    return images + keras.random.uniform((3,))


def labels_by_system(images, labels, draws):
    return images, (labels + os.urandom(1)[0] + os.urandom(1)[0]) % 10


def by_fixed_generator(images, labels, draws):
    return images + 50 * np.random.default_rng(0).normal(size=3)


def unit(images, labels, draws):
    return images / 255


def black(images, labels, draws):
    return 0 * images


FACTOR = 3
"""
IN_PROJECT = "import sys; sys.path.append(sys.argv[1]); import test_augment_own as t; "


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "own_augmentations.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('no\\nway')", encoding="utf-8")
    (tmp_path / "leaves.py").write_text("import sys; sys.exit()", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_augmentations", raising=False)  # that of another test
    return tmp_path


def own(name, **arguments):
    return {"module": "own_augmentations", "name": name, **arguments}


def batch():
    random = np.random.RandomState(3)
    return random.randint(0, 256, (BATCH, 32, 32, 3)).astype("uint8"), (np.arange(BATCH) % 10).astype("int32")


def transformation(augmentation, seed=5, compiled=True):
    """A function from a step's number to the batch after an augmentation, as an engine calls it."""
    import keras
    from keras import ops

    from cifarzoo.augment.pipeline import build
    from cifarzoo.augment.random import Draws

    pipeline = build(augmentation)
    positions = np.arange(BATCH, dtype="int32")

    def function(images, labels, number):
        return pipeline(images, labels, Draws(seed, number, positions, 0, positions))

    if compiled and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        function = tf.function(function, autograph=False)
    elif compiled:
        import jax

        function = jax.jit(function)

    def of_step(step):
        images, labels = map(ops.convert_to_tensor, batch())
        results = function(images, labels, ops.convert_to_tensor(step, "int32"))
        return [ops.convert_to_numpy(result) for result in results]

    return of_step


def transformed(augmentation, compiled=True):
    return transformation(augmentation, compiled=compiled)(2)


# -------------------------------------------------------------------------------------------------------- functions


def assert_functions_do_what_they_say():
    from cifarzoo.augment.random import Draws

    images, labels = batch()
    positions = np.arange(BATCH, dtype="int32")
    second = Draws(5, 2, positions).with_stream(1)
    expected = images + 20 * np.asarray(second.uniform(1))[:, :, None, None] + np.asarray(second.shared(1))
    found, same = transformed([{"crop": {"padding": 0}}, own("shift", by=20)])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32 and (same == labels).all() and same.dtype == np.int32
    _, swapped = transformed([own("swap")], compiled=False)
    assert (swapped == 9 - labels).all()
    mixed, shares = transformed([own("swap"), own("halves")], compiled=False)
    assert shares.shape == (BATCH, 10) and shares.dtype == np.float32 and mixed.dtype == np.float32
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_on_both_engines(project, backend):
    if backend == "tensorflow":
        assert_functions_do_what_they_say()
        assert_layers_draw_from_seed_and_step()
    else:
        calls = "t.assert_functions_do_what_they_say(); t.assert_layers_draw_from_seed_and_step()"
        run_python(IN_PROJECT + calls, str(project), backend=backend)


def test_the_example_of_the_page(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(# my_augmentations.py.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_augmentations.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    images, _ = batch()
    entry = {"module": "my_augmentations", "name": "gray_out", "probability": 0.5}
    found, _ = transformed([entry])
    is_gray = (np.ptp(found, axis=-1) < 1e-4).all((1, 2))
    assert 0 < is_gray.sum() < BATCH
    np.testing.assert_array_equal(found[~is_gray], images[~is_gray])
    np.testing.assert_allclose(found[is_gray].mean(-1), images[is_gray].mean(-1), rtol=1e-5)


# ----------------------------------------------------------------------------------------------------------- layers


def assert_layers_draw_from_seed_and_step():
    images, _ = batch()
    inverted, _ = transformed([{"keras": "RandomInvert", "factor": [1.0, 1.0]}], compiled=False)
    np.testing.assert_allclose(inverted, 255.0 - images, atol=1e-4)
    entry = {"keras": "RandomContrast", "factor": 0.5}
    function = transformation([entry])
    first, _ = function(2)
    np.testing.assert_array_equal(function(2)[0], first)
    fresh = transformation([entry], compiled=False)
    np.testing.assert_allclose(fresh(2)[0], first, atol=1e-3)
    other_seed, other_place = (
        transformation(*arguments, compiled=False)(2) for arguments in (([entry], 6), ([own("swap"), entry], 5))
    )
    for other in (function(3), other_seed, other_place):
        assert np.abs(other[0] - first).max() > 1


def test_a_layer_leaves_keras_own_generators_alone():
    import keras

    keras.utils.set_random_seed(1)
    before = np.asarray(keras.random.uniform((3,)))
    keras.utils.set_random_seed(1)
    transformed([{"keras": "RandomFlip"}])
    np.testing.assert_array_equal(np.asarray(keras.random.uniform((3,))), before)


# ------------------------------------------------------------------------------------------------- mistakes, sources

WRONG = [
    (
        {"module": "own_augmentations"},
        r"augmentation\[1\]: expected {module: MODULE, name: FUNCTION, ... its arguments}",
    ),
    ({"module": 3, "name": "a"}, "expected {module: MODULE, name: FUNCTION, ... its arguments}, got"),
    ({"module": "a b", "name": "c"}, r"augmentation\[1\].module: expected the name of a Python module"),
    ({"module": "own", "keras": "a", "name": "c"}, "expected {keras: LAYER, ... its arguments}, got"),
    ({"module": "no_such_module", "name": "a"}, "cannot import 'no_such_module' .ModuleNotFoundError: No module named"),
    ({"module": "breaks_on_import", "name": "a"}, "cannot import 'breaks_on_import' .RuntimeError: no.$"),
    ({"module": "leaves", "name": "a"}, "leaves: calls sys.exit.None.; only a script may do that"),
    (own("no_such"), "own_augmentations has no function 'no_such'$"),
    (own("FACTOR"), "own_augmentations has no function 'FACTOR'$"),
    (
        own("shift", to=3),
        "own_augmentations.shift: cannot be called with .images, labels, draws, to.: got an",
    ),
    (own("smaller"), r"own_augmentations.smaller: returns \[12, 16, 32, 3\] for images \[12, 32, 32, 3\]$"),
    (own("nothing"), "own_augmentations.nothing: returns NoneType, no array$"),
    (own("long_labels"), r"returns labels int32 \[24\]; expected integers \[12\] or shares \[12, 10\]$"),
    (own("breaks"), "own_augmentations.breaks: failed"),
    (own("by_numpy"), "own_augmentations.by_numpy: draws from Python's or NumPy's random numbers"),
    (own("by_python"), "own_augmentations.by_python: draws from Python's or NumPy's random numbers"),
    ({"keras": 3}, "expected {keras: LAYER, ... its arguments}, got"),
    ({"keras": "Rotation"}, "keras: Rotation: keras.layers has no such layer; did you mean RandomRotation"),
    (
        {"keras": "RandomRotation"},
        "keras: RandomRotation: TypeError: .* missing 1 required .* 'factor'",
    ),
    ({"keras": "RandomRotation", "factor": "a"}, "keras: RandomRotation: ValueError: The `factor` argument should be"),
    ({"keras": "RandomFlip", "seed": 1}, "keras: RandomFlip: seed: leave it out: the run's seed decides"),
    ({"keras": "RandomFlip", "dtype": "float16"}, "keras: RandomFlip: dtype: leave it out: layers compute in float32"),
    ({"keras": "Dense", "units": 3}, "keras: Dense: has weights, and an augmentation is not trained"),
    (
        {"keras": "Resizing", "height": 16, "width": 16},
        r"keras: Resizing: returns \[12, 16, 16, 3\] for images",
    ),
    ({"keras": "AugMix"}, "keras: AugMix: draws from Python's or NumPy's random numbers"),
    ({"keras": "MixUp"}, "keras: MixUp mixes labels too; write mixup"),
]


@pytest.mark.parametrize(("entry", "message"), WRONG, ids=[str(entry)[:60] for entry, _ in WRONG])
def test_every_mistake_is_one_line(project, entry, message):
    with pytest.raises(ExperimentError, match=message) as caught:
        transformed(["crop", entry])
    text = str(caught.value)
    assert text.startswith("augmentation[1]") and "\n" not in text and len(text) < 400


def check(augmentation):
    from cifarzoo.augment.own_checks import check_own
    from cifarzoo.augment.pipeline import build

    check_own(build(["crop", *augmentation]), *batch())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (own("by_new_generator"), "by_new_generator: returns something else when it is called again"),
        (own("by_generator_of_the_module"), "by_generator_of_the_module: returns something else when"),
        (own("by_keras"), "by_keras: returns something else when it is called again with the same images"),
        (own("labels_by_system"), "labels_by_system: returns something else when it is called again"),
        (own("by_numpy"), "by_numpy: draws from Python's or NumPy's random numbers"),
        (own("unit"), "unit: turns pixels from 0 to 255 into values from 0 to 1; networks take pixels from 0 to 255"),
        (
            {"keras": "Rescaling", "scale": 0.00392},
            "keras: Rescaling: turns pixels from 0 to 255 into values from 0 ",
        ),
        (
            {"keras": "Normalization", "mean": [120, 120, 120], "variance": [4000, 4000, 4000]},
            "keras: Normalization: turns pixels from 0 to 255 into values from -1.9 to 2.13; networks",
        ),
    ],
)
def test_what_only_a_call_shows_is_refused(project, entry, message):
    import keras

    keras.random.uniform((1,))  # Keras' generator takes its seed from Python's when it is used first
    with pytest.raises(ExperimentError, match=re.escape("augmentation[1]: ") + f".*{message}") as caught:
        check([entry])
    assert "\n" not in str(caught.value)


def test_what_repeats_and_keeps_the_scale_passes(project):
    check([own("by_fixed_generator"), own("shift"), "mixup", own("swap")])
    check([own("halves")])
    check([own("black")])
    check([{"keras": "RandomRotation", "factor": 0.1}, {"keras": "RandomBrightness", "factor": 0.9}])
    check(["flip"])


def test_the_check_before_training_sees_them(project, monkeypatch):
    from cifarzoo.data import load
    from cifarzoo.training.job import prepare
    from cifarzoo.training.preflight import preflight

    one = experiment([own("unit")], module="tiny_models", model="tiny_linear", dataset="synthetic")
    with pytest.raises(ExperimentError, match="own_augmentations.unit: turns pixels"):
        preflight(prepare(one, load("synthetic")))


def experiment(augmentation, **keys):
    return experiment_from([{"model": "cifar_resnet20", "augmentation": augmentation, **keys}], "e.yaml, document 1")


def test_entries_stay_as_they_are_written():
    entries = ["crop", {"module": "mine", "name": "shift", "by": 3}, {"keras": "RandomFlip", "mode": "horizontal"}]
    assert experiment(entries).decisive()["augmentation"] == entries
    assert [spec.as_entry() for spec in specs_of(list(specs_of(entries)))] == entries
    with pytest.raises(ExperimentError, match="xla: must be false with Keras' RandomFlip"):
        experiment(entries, xla=True)


def test_the_module_is_a_source_of_the_run(project):
    from cifarzoo.training.sources import sources_of

    one = experiment([own("shift")])
    before = sources_of(one, 0)
    assert set(before) == {"own_augmentations.py"}
    (project / "own_augmentations.py").write_text(OWN.replace("10.0", "11.0"), encoding="utf-8")
    assert not set(sources_of(one, 0)["own_augmentations.py"]) & set(before["own_augmentations.py"])


def test_the_preview_shows_them(project):
    pytest.importorskip("PIL")
    from cifarzoo.augment.preview import draw_gallery

    images, labels = batch()
    out = project / "out.png"
    draw_gallery(["autoaugment", own("halves"), {"keras": "RandomFlip"}], images[:2], labels[:2], out, columns=2)
    assert out.stat().st_size > 1000


# --------------------------------------------------------------------------------------------------------- training


class Death(Exception):
    """What stands for the end of the process."""


def assert_resumes(folder):
    """Soft labels, dropped images, a function and a layer: a run that died continues with the same bits."""
    import keras

    from cifarzoo.data import load
    from cifarzoo.runs.folder import RunFolder
    from cifarzoo.training.job import prepare
    from cifarzoo.training.trainer import run

    folder, dataset = Path(folder), load("synthetic")
    soft = np.full((10_000, 10), 0.05, np.float32)
    soft[np.arange(10_000), dataset.train.labels] = 0.55
    np.save(folder / "soft.npy", soft)

    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= 5:
                raise Death

    def outcome(name, callbacks=()):
        document = {
            "module": "tiny_models",
            "model": "tiny_pixels",
            "dataset": "synthetic",
            "labels": str(folder / "soft.npy"),
            "drop": list(range(10_000 - 48, 10_000)),  # all of validation
            "augmentation": ["crop", own("shift"), {"keras": "RandomContrast", "factor": 0.4}],
            "train_parameters": {
                "run_name": name,
                "logdir": str(folder),
                "batch_size": 24,
                "schedule": {"kind": "constant", "learning_rate": 0.01, "duration": 8},
                "log_interval": 2,
                "checkpoint_interval": 4,
                "steps_per_call": 2,
                "label_smoothing": 0.1,
            },
        }
        one = experiment_from([document], "e.yaml")
        job = prepare(one, dataset)
        assert job.plan.images == 9_952
        results = run(job, 0, callbacks)
        assert (results.training_images, results.changed_labels) == (9_952, 0)
        assert set(results.sources) == {str(folder / "soft.npy"), "own_augmentations.py", "tiny_models.py"}
        return RunFolder.of(one, 0).load_checkpoint()[0]

    whole = outcome("whole")
    with pytest.raises(Death):
        outcome("broken", [Dies()])
    resumed = outcome("broken")
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_run_resumes_bit_for_bit(project, backend):
    if backend == "tensorflow":
        assert_resumes(project)
    else:
        run_python(IN_PROJECT + "t.assert_resumes(sys.argv[1])", str(project), backend=backend)


def losses_of(seeds, at_once, distribution="none"):
    """The losses of three steps per seed."""
    from cifarzoo.data import load
    from cifarzoo.experiment.plan import stream_indices
    from cifarzoo.training import engines
    from cifarzoo.training.job import prepare

    one = experiment_from(
        [
            {
                "module": "tiny_models",
                "model": "tiny_pixels",
                "dataset": "synthetic",
                "augmentation": [own("shift"), {"keras": "RandomContrast", "factor": 0.5}],
                "precision": "float64",
                "distribution": distribution,
                "train_parameters": {"batch_size": BATCH, "steps_per_call": 1},
            }
        ],
        "e.yaml",
    )
    dataset = load("synthetic")
    trained = [prepare(one, dataset, [seed]).create_engine(seed) for seed in seeds]
    losses = []
    group = engines.current().create_group(trained) if at_once else None
    for step in range(3):
        indices = np.stack([stream_indices(seed, 10_000, step * BATCH, BATCH)[None] for seed in seeds])
        rates = np.full(1, 1e-3)
        sums = (
            group.train(step, indices, rates)
            if group
            else [engine.train(step, rows, rates) for engine, rows in zip(trained, indices, strict=True)]
        )
        losses.append([values["loss"] for values in sums])
    return np.array(losses)


def assert_seeds_together_draw_what_each_draws_alone():
    np.testing.assert_allclose(losses_of([3, 4], True), losses_of([3, 4], False), rtol=1e-6)


@pytest.mark.slow
def test_seeds_together_draw_what_each_draws_alone(project):
    run_python(IN_PROJECT + "t.assert_seeds_together_draw_what_each_draws_alone()", str(project), backend="jax")


TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy as np
import test_augment_own as t
two, again = t.losses_of([3], False, "mirrored"), t.losses_of([3], False, "mirrored")
assert np.isfinite(two).all() and (two == again).all()
assert (two != t.losses_of([3], False, "none")).all()
"""


@pytest.mark.slow
def test_replicas_draw_for_their_own_parts(project):
    """On TensorFlow a layer sees the part of a replica, so that a run repeats with the same number of them only."""
    run_python("import sys; sys.path.append(sys.argv[1])" + TWO_DEVICES, str(project), backend="tensorflow")
