"""Learning from a teacher: the loss, what the teacher sees, fixed views, both engines, and mistakes."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from model_cases import run_python
from test_cli import run as run_command
from test_damaged_files import META
from test_engine_tensorflow import finish, start, two_workers

from cifarzoo.augment.random import Draws
from cifarzoo.data import load
from cifarzoo.errors import CheckpointError, CifarzooError, ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.description import Description, save_weights
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.build import build_model
from cifarzoo.training.job import prepare
from cifarzoo.training.losses import cross_entropy
from cifarzoo.training.run_files import describe
from cifarzoo.training.sources import check_sources
from cifarzoo.training.teacher import Lessons, Teacher
from cifarzoo.training.teacher_files import teacher_file
from cifarzoo.training.teacher_views import cache_folder
from cifarzoo.training.trainer import run

pytest.importorskip("tensorflow")

TAG = "resnet9_cifar10_speed_s0"


def document(folder, teacher=None, **changes):
    parameters = {
        "logdir": str(folder),
        "batch_size": 24,
        "schedule": {"kind": "constant", "learning_rate": 0.05, "duration": 6},
        "log_interval": 1,
        "val_interval": 6,
        "checkpoint_interval": 3,
        "steps_per_call": 3,
    }
    parameters |= changes.pop("train_parameters", {})
    base = {
        "model": "tiny_linear",
        "model_parameters": {"hidden": 8},
        "module": "tiny_models",
        "dataset": "synthetic",
        "train_parameters": parameters,
    }
    return base | ({"teacher": teacher} if teacher else {}) | changes


def experiment(folder, teacher=None, **changes):
    return Experiment.model_validate(document(folder, teacher, **changes))


def small(count=72):
    """The first images of the synthetic data set, so that six steps of 24 are two epochs."""
    full = load("synthetic")
    return dataclasses.replace(full, train=full.train.take(slice(count)), test=full.test.take(slice(40)))


def divergence(student, teacher, temperature):
    """The mean Kullback-Leibler divergence of softmax(teacher / T) from softmax(student / T), in NumPy."""

    def softmax(x):
        e = np.exp(x / temperature - (x / temperature).max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    return float((p * np.log(p / q)).sum(1).mean())


# ------------------------------------------------------------------------------------------------ the loss


def logits(seed, shape=(6, 10)):
    return np.random.default_rng(seed).normal(0, 3, shape)


def part(temperature=4.0, weight=0.9, views=None, models=()):
    return Teacher(lambda: list(models), temperature, weight, views)


def gradient_of(teacher, student, targets, labels):
    import tensorflow as tf

    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = teacher.loss(student, tf.constant(targets), cross_entropy(student, tf.constant(labels)))
    return float(loss), tape.gradient(loss, student).numpy()


@pytest.mark.parametrize(("temperature", "weight"), [(4, 0.9), (1, 0.5), (2.5, 1)])
def test_loss_and_gradient_are_those_of_the_formula(temperature, weight):
    student, targets, labels = logits(0), logits(1), np.arange(6)
    loss, gradient = gradient_of(part(temperature, weight), student, targets, labels)

    def formula(z):
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        on_labels = -log_p[np.arange(6), labels].mean()
        return weight * temperature**2 * divergence(z, targets, temperature) + (1 - weight) * on_labels

    assert loss == pytest.approx(formula(student), abs=1e-12)
    for row, column in ((0, 0), (2, 5), (5, 9)):
        step = np.zeros_like(student)
        step[row, column] = 1e-5
        slope = (formula(student + step) - formula(student - step)) / 2e-5
        assert gradient[row, column] == pytest.approx(slope, abs=1e-8)


def test_loss_and_gradient_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    student, targets, labels = logits(2), logits(3), np.arange(6)
    z = torch.tensor(student, requires_grad=True)
    soft = torch.nn.functional.kl_div(
        (z / 4).log_softmax(1), (torch.tensor(targets) / 4).softmax(1), reduction="batchmean"
    )
    expected = 0.9 * 16 * soft + 0.1 * torch.nn.functional.cross_entropy(z, torch.tensor(labels))
    expected.backward()
    loss, gradient = gradient_of(part(), student, targets, labels)
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    np.testing.assert_allclose(gradient, z.grad.numpy(), atol=1e-12)


def test_a_student_that_equals_the_teacher_has_nothing_to_learn_from_it():
    loss, gradient = gradient_of(part(weight=1), logits(0), logits(0), np.arange(6))
    assert loss == 0 and np.abs(gradient).max() < 1e-15


def test_several_teachers_are_the_mean_of_their_logits():
    from tiny_models import tiny_linear

    keras.utils.set_random_seed(0)
    models = [tiny_linear(), tiny_linear(hidden=4)]
    images = small().train.images[:5]
    teacher = part(models=models)
    values = [[v.value for v in model.variables] for model in models]
    found = np.asarray(teacher.logits(values, keras.ops.convert_to_tensor(images)))
    expected = np.mean([np.asarray(model(images.astype("float32"), training=False)) for model in models], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert teacher.macs == 30 + (3 * 4 + 4 * 10)


def test_many_teachers_are_loaded_once(tmp_path):
    from tiny_models import tiny_linear

    names = [str(tmp_path / f"{hidden}.keras") for hidden in range(1, 7)]
    for hidden, name in enumerate(names, start=1):
        tiny_linear(hidden=hidden).save(name)
    parts = prepare(experiment(tmp_path, {"model": names}), small()).parts
    first, second = parts.teacher.models, parts.teacher.models
    assert len(first) == 6 and all(one is other for one, other in zip(first, second, strict=True))


def test_the_teachers_arithmetic_is_counted():
    """Two operations a multiply-accumulate; in every step, or once per view and image."""
    parameters = experiment("x", {"model": TAG}).teacher
    assert parameters.operations(100, 7, 24, 72) == 2 * 100 * 7 * 24
    assert parameters.model_copy(update={"views": 3}).operations(100, 7, 24, 72) == 2 * 100 * 3 * 72


def test_estimates_count_the_teacher(tmp_path):
    """Its operations at the rate of its own prediction, whatever the size of the student's images."""
    from cifarzoo.data.info import info
    from cifarzoo.training.estimate import Cost

    job = prepare(experiment(tmp_path, {"model": TAG}), info("synthetic"))
    cost = Cost(macs=1000, parameters=1, rate=1e6, teacher_macs=5000, teacher_rate=2e6)
    assert cost.operations(job) == (6 * 1000 * 6 * 24, 2 * 5000 * 6 * 24)
    assert cost.hours(job) == pytest.approx((0.864 + 0.72) / 3600)


def test_a_dry_run_counts_no_teacher_that_is_yet_to_be_trained(tmp_path, capsys, monkeypatch):
    from cifarzoo.training import estimate
    from cifarzoo.training.dry_run import print_plan

    monkeypatch.setattr(estimate, "probe", lambda *device: 1e9)
    assert print_plan([experiment(tmp_path, {"model": "{logdir}/first/seed0"})]) == 0
    out = capsys.readouterr().out
    assert "# warning: the teacher {logdir}/first/seed0 does not exist yet; its cost is not counted" in out


# ------------------------------------------------------------------------------------------------ both engines


def measure(folder, start, teacher):
    """What the engine of this backend does; the tests below look at the numbers.

    Args:
        folder: Where runs are kept.
        start: A file of initial weights, the same for every backend.
        teacher: The folder of a finished run.
    """
    folder, found = Path(folder), {}
    # Everything that touches the teacher's logits on their way to the loss. Six steps; the last three twice.
    precise = experiment(
        folder,
        {"model": str(teacher), "temperature": 3, "weight": 0.7},
        precision="float64",
        init_weights=str(start),
        augmentation=["crop", "flip", {"mixup": {"per": "image"}}],
        train_parameters={
            "accumulate": 2,
            "sam_rho": 0.05,
            "label_smoothing": 0.1,
            "progressive_resizing": [{"size": 24, "until": 5}],
        },
    )
    engine = prepare(precise, small()).create_engine(0)
    found["losses"], found["repeated"] = train_twice(engine)

    with_views = experiment(folder, {"model": str(teacher), "views": 2}, seeds=[1])
    job = prepare(with_views, small())
    engine = job.create_engine(1)
    kept = np.stack([engine.teacher.logits("train", view) for view in range(2)])
    engine.teacher.keep(kept.astype(np.float16))
    _, found["repeated with views"] = train_twice(engine)
    ops, dataset = keras.ops, job.arrays
    rows = np.array([5, 70, 11, 0], np.int32)
    epochs = np.array([[0], [3], [4], [7]], np.int32)  # views 0, 1, 0, 1
    draws = Draws(1, 99, np.arange(4), ops.convert_to_tensor(epochs), ops.convert_to_tensor(rows))
    draws = draws.in_view(draws.epoch % 2)
    images, _ = job.parts.augment(
        ops.convert_to_tensor(dataset.train.images[rows]), ops.convert_to_tensor(dataset.train.labels[rows]), draws
    )
    part = job.parts.teacher
    direct = part.logits([[v.value for v in model.variables] for model in part.models], images)
    looked_up = part.targets(Lessons([], ops.convert_to_tensor(kept)), images, draws)
    found["looked up"] = float(np.abs(np.asarray(looked_up) - np.asarray(direct)).max())
    found["views differ"] = float(np.abs(kept[0] - kept[1]).max())
    plain = part.models[0](ops.convert_to_tensor(dataset.test.images.astype("float32")), training=False)
    found["plain"] = float(np.abs(engine.teacher.logits("test") - np.asarray(plain)).max())
    return found


def train_twice(engine):
    """Train six steps, the last three twice; return the losses, and whether the second time gave the same bits."""
    indices, rates = np.random.RandomState(0).permutation(72).reshape(3, 24).astype(np.int32), np.full(3, 0.05)
    first = engine.train(0, indices, rates)
    middle = engine.state()
    second, end = engine.train(3, indices, rates), engine.state()
    engine.restore(middle)
    again = engine.train(3, indices, rates)
    same = again == second and all((engine.state()[name] == value).all() for name, value in end.items())
    return [first["loss"], second["loss"]], bool(same)


ON_JAX = """
import json, sys
from test_teacher import measure
print(json.dumps(measure(*sys.argv[1:])))
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a finished run; beside it are initial weights of the same network."""
    folder = tmp_path_factory.mktemp("teacher")
    first = experiment(folder, train_parameters={"run_name": "teacher"})
    start = folder / "start.weights.h5"
    save_weights(
        build_model(first, 10, 3), start, Description(module="tiny_models", function="tiny_linear", classes=10)
    )
    run(prepare(first, small()), 0)
    return folder / "teacher" / "seed0"


@pytest.fixture(scope="module")
def measured(tmp_path_factory, teacher):
    folder, start = tmp_path_factory.mktemp("measured"), teacher.parent.parent / "start.weights.h5"
    found = {"tensorflow": measure(folder / "tensorflow", start, teacher)}
    out = run_python(ON_JAX, str(folder / "jax"), str(start), str(teacher), backend="jax")
    return found | {"jax": json.loads(out.splitlines()[-1])}


def test_both_engines_learn_alike(measured):
    """With SAM, micro-batches, MixUp, smoothed labels, float64 and small images."""
    tensorflow, jax = measured["tensorflow"]["losses"], measured["jax"]["losses"]
    assert np.isfinite(tensorflow).all() and tensorflow[0] != tensorflow[1]
    np.testing.assert_allclose(jax, tensorflow, rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_teacher_has_no_state(measured, backend):
    """Restored, an engine trains on with the same bits."""
    assert measured[backend]["repeated"] and measured[backend]["repeated with views"]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_logits_of_views_are_those_of_the_same_augmented_images(measured, backend):
    """Across the end of an epoch, whatever the step and the place in the batch."""
    assert measured[backend]["looked up"] < 1e-5 < 1e-2 < measured[backend]["views differ"]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_teacher_is_in_inference_mode(measured, backend):
    """Its moving statistics count, as in a plain call of the model."""
    assert measured[backend]["plain"] < 1e-4


# ------------------------------------------------------------------------------------------------ whole runs


class Death(Exception):
    """What stands for the end of the process."""


def assert_resumes(folder, teacher):
    """A run on views that died in its third call, against one that did not."""

    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= 5:
                raise Death

    states = []
    for name in ("whole", "broken"):
        one = experiment(
            Path(folder) / name,
            {"model": str(teacher), "views": 2},
            model_parameters={"hidden": 8, "dropout": 0.3},
            train_parameters={"schedule": {"kind": "constant", "learning_rate": 0.05, "duration": 9}},
        )
        job = prepare(one, small())
        if name == "broken":
            with pytest.raises(Death):
                run(job, 1, [Dies()])
            assert job.folder(1).checkpoint_meta()["step"] == 3
        run(job, 1)
        states.append(job.folder(1).load_checkpoint()[0])
        files = sorted((Path(folder) / name / "teachers").glob("*/*"))
        assert [path.name for path in files] == ["view0000.npz", "view0001.npz"]
    for name, value in states[0].items():
        np.testing.assert_array_equal(states[1][name], value, err_msg=name)
    return files


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_a_run_on_views_resumes_bit_for_bit(tmp_path, teacher, backend):
    if backend == "jax":
        code = "import sys\nfrom test_teacher import assert_resumes\nassert_resumes(*sys.argv[1:])"
        run_python(code, str(tmp_path), str(teacher), backend="jax")
    else:
        assert_resumes(tmp_path, teacher)


def test_views_are_kept_and_shared(tmp_path, teacher, capsys):
    """A stop between two views loses none; another weight and more views read them; a damaged file is replaced."""
    from cifarzoo.training.engines import current
    from cifarzoo.training.stopping import Interrupted
    from cifarzoo.training.teacher_views import cache_folder, view_logits

    engine = prepare(experiment(tmp_path, {"model": str(teacher), "views": 2}), small()).create_engine(0)

    def logits(asked=lambda: False, **changes):
        job = prepare(experiment(tmp_path, {"model": str(teacher)} | changes), small())
        return job, view_logits(job, engine, current().workers("none"), asked)

    answers = iter([False, True])
    with pytest.raises(Interrupted, match="stopped after 1 of 2 views .* the same command continues"):
        logits(lambda: next(answers), views=2)
    job, two = logits(views=2)
    assert two.dtype == np.float16 and two.shape == (2, 72, 10) and "logits of 1 views" in capsys.readouterr().err
    folder = cache_folder(job, 0)
    assert cache_folder(job, 1) != folder
    first = (folder / "view0000.npz").read_bytes()
    (folder / "view0001.npz").write_bytes(first[:200])
    _, three = logits(views=3, weight=0.5, temperature=1)
    assert "logits of 2 views" in capsys.readouterr().err and (three[:2] == two).all()
    assert (folder / "view0000.npz").read_bytes() == first
    other = prepare(experiment(tmp_path, {"model": str(teacher), "views": 2}, augmentation=["flip"]), small())
    assert cache_folder(other, 0) != folder


def test_your_own_model_teaches_from_python(tmp_path, capsys):
    """By its weights: with others the run is refused."""
    from tiny_models import tiny_linear

    import cifarzoo

    keras.utils.set_random_seed(0)
    own = tiny_linear(hidden=4)
    before = [value.copy() for value in own.get_weights()]
    arrays = small()
    data = cifarzoo.Dataset.from_arrays(
        "mine", (arrays.train.images, arrays.train.labels), (arrays.test.images, arrays.test.labels), list("abcdefghij")
    )

    def train(teacher, name="student"):
        schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 2}
        options = {"logdir": tmp_path, "run_name": name, "schedule": schedule, "batch_size": 24}
        return cifarzoo.train(tiny_linear, data, teacher=teacher, **options)

    done = train({"model": own, "weight": 1})
    assert "error of the teacher" in capsys.readouterr().err
    (name,) = [name for name in done.results.sources if name.startswith("teacher")]
    assert name == "teacher own_model (passed from Python)"
    for value, earlier in zip(own.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, earlier)
    own.layers[-1].bias.assign(np.ones(10))
    with pytest.raises(CheckpointError, match="teacher .* changed since this run began"):
        train({"model": own, "weight": 1})
    with pytest.raises(CifarzooError, match=r"cifarzoo.load\(NAME\) loads a name"):
        train([own, TAG])
    with pytest.raises(ExperimentError, match="has 7 outputs, mine has 10 classes"):
        train(tiny_linear(classes=7), "other")


FOUR_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}


@pytest.mark.slow
@pytest.mark.parametrize("views", [None, 2])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_replicas_and_workers_learn_as_one_device_does(tmp_path, teacher, backend, views):
    """The teacher's share of a batch goes with the batch; with views, workers compute them together."""

    def train(name, *options, environments=({},), **changes):
        description = document(
            tmp_path / name,
            {"model": str(teacher), "views": views},
            precision="float64",
            train_parameters={"steps_per_call": 1},
            **changes,
        )
        base = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        started = [start(description, *options, environment=base | one) for one in environments]
        return [finish(process) for process in started]

    (one,) = train("one", distribution="none")
    if backend == "tensorflow":
        several = train("several", "--cpus", "2", distribution="mirrored")
    else:
        several = train("several", environments=[FOUR_DEVICES])
    workers = train("workers", environments=two_workers(), distribution="multi_worker")
    assert [run["replicas"] for run in (one, *several, *workers)] == [1, 2 if backend == "tensorflow" else 4, 2, 2]
    for run_of_several in (*several, *workers):
        np.testing.assert_allclose(run_of_several["losses"], one["losses"], rtol=1e-8)
    files = {path.parent.name for path in tmp_path.glob("*/teachers/*/*.npz")}
    assert len(files) == (1 if views else 0)


@pytest.mark.slow
@pytest.mark.parametrize("views", [None, 2])
def test_seeds_together_learn_as_alone(tmp_path, teacher, views):
    code = "import sys\nfrom test_teacher import assert_seeds_agree\nassert_seeds_agree(*sys.argv[1:])"
    run_python(code, str(tmp_path), str(teacher), str(views or 0), backend="jax")


def assert_seeds_agree(folder, teacher, views):
    """Two seeds in one program, each with its own views, against each alone."""
    from cifarzoo.training.trainer import run_together

    def losses(name, at_once):
        one = experiment(
            Path(folder) / name,
            {"model": teacher, "views": int(views) or None},
            precision="float64",
            seeds=[0, 1],
            seeds_at_once=at_once,
        )
        for first in range(0, 2, at_once):
            seeds = [0, 1][first : first + at_once]
            job = prepare(one, small(), seeds)
            outcomes = run_together(job, seeds)
            assert all(not isinstance(outcome, Exception) for outcome in outcomes), outcomes
        logs = [(job.folder(seed).log_path).read_text(encoding="utf-8").splitlines()[1:] for seed in (0, 1)]
        return np.array([[float(line.split("\t")[3]) for line in log] for log in logs])

    together, alone = losses("together", 2), losses("alone", 1)
    assert together.shape == (2, 6) and (together[0] != together[1]).all()
    np.testing.assert_allclose(together, alone, rtol=1e-8)


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": 7}, "teacher: "),
        ({"teacher": {}}, "teacher.model: "),
        ({"teacher": {"model": ""}}, "teacher.model: expected the name of a network"),
        ({"teacher": {"model": []}}, "teacher.model: "),
        ({"teacher": [TAG, "resnet20_v1_cifar10_200ep_s0", TAG]}, f"teacher.model: {TAG} is listed twice"),
        ({"teacher": {"model": 7}}, "teacher.model: expected the name of a teacher, or a list of names"),
        ({"teacher": {"model": "runs/{seed}/x.keras"}}, "one teacher teaches all seeds"),
        ({"teacher": {"model": TAG, "temperature": 0}}, "teacher.temperature: "),
        ({"teacher": {"model": TAG, "weight": 0}}, "teacher.weight: "),
        ({"teacher": {"model": TAG, "weight": 1.1}}, "teacher.weight: "),
        ({"teacher": {"model": TAG, "views": 0}}, "teacher.views: "),
        ({"teacher": {"model": TAG, "views": 2000}}, "teacher.views: "),
        ({"teacher": {"model": TAG, "alpha": 0.5}}, "write teacher.weight"),
        ({"teacher": {"model": TAG, "views": 2}, "augmentation": ["flip", "cutmix"]}, "teacher.views: cutmix in"),
        (
            {"teacher": {"model": TAG, "views": 2}, "augmentation": [{"mixup": {"per": "image"}}]},
            "teacher.views: mixup in",
        ),
        (
            {"teacher": {"model": TAG, "views": 2}, "augmentation": [{"keras": "RandomRotation", "factor": 0.1}]},
            "teacher.views: Keras layer in augmentation draws numbers for the whole batch",
        ),
        ({"distillation": {"model": TAG}}, "write teacher: {model: NAME, temperature: 4, weight: 0.9}"),
    ],
)
def test_mistakes_in_the_document_are_one_line(changes, message):
    with pytest.raises(ExperimentError) as raised:
        experiment_from([{"model": "cifar_resnet20"}, changes], "e.yaml")
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet9_cifar10_sped_s0", {}, "neither a .weights.h5 or .keras file nor published weights; there are"),
        ("no/such.weights.h5", {}, "no such weight file"),
        ("empty", {}, "not a finished run"),
        ("runs/missing/seed0", {}, "neither the folder of a run nor another project's checkpoint"),
        (TAG, {"dataset": "cifar100"}, "has 10 outputs, cifar100 has 100 classes"),
        (TAG, {"dataset": "synthetic"}, "was trained on cifar10; its classes are not those of synthetic"),
        ("mine (passed from Python)", {}, "only Python can pass it again"),
    ],
)
def test_mistakes_about_the_network_are_one_line(tmp_path, monkeypatch, name, changes, message):
    from cifarzoo.data.dataset import info

    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    one = experiment("runs", {"model": name}, model="cifar_resnet20", module=None, model_parameters={}, **changes)
    with pytest.raises(ExperimentError) as raised:
        prepare(one, info(one.dataset)).parts.teacher.models  # noqa: B018
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert "teacher.model: " in str(raised.value)


def test_probabilities_are_refused(tmp_path):
    from tiny_models import tiny_linear

    from cifarzoo.training.preflight import preflight

    model = tiny_linear()
    keras.Sequential([model, keras.layers.Softmax()]).save(tmp_path / "softmax.keras")
    job = prepare(experiment(tmp_path, {"model": str(tmp_path / "softmax.keras")}), small())
    with pytest.raises(ExperimentError, match="returns probabilities, like a softmax; a teacher returns logits"):
        preflight(job)


def test_a_teacher_of_policy_gradients_is_refused(tmp_path):
    from cifarzoo.training.checks import check_model

    one = experiment(tmp_path, {"model": TAG}, model="tiny_skipnet", model_parameters={"stage": "reinforce"})
    with pytest.raises(ExperimentError, match="learns its gates by policy gradients"):
        check_model(one, build_model(one, 10, 0), 24)


def test_the_weights_of_a_teacher_are_sources_of_a_run(tmp_path, teacher):
    """A default network is its tag; a file that changes is refused."""
    one = experiment(tmp_path, {"model": [str(teacher), TAG, "cifar_resnet20"]})
    sources = prepare(one, small()).sources(0)
    assert set(sources) >= {f"teacher {teacher}", f"teacher {TAG}", "teacher cifar_resnet20"}
    assert all(len(hashes) == 1 and len(hashes[0]) == 64 for name, hashes in sources.items() if "teacher" in name)
    named = teacher_file("cifar_resnet20", one, 10)
    assert named.name == "resnet20_v1_cifar10_200ep_s0" and named.dataset == "cifar10"
    job = prepare(experiment(tmp_path, {"model": str(teacher)}, train_parameters={"run_name": "changed"}), small())
    meta = {"step": 1, "sources": job.sources(0) | {f"teacher {teacher}": ["another"]}}
    job.folder(0).path.mkdir(parents=True)
    job.folder(0).save_checkpoint({}, META | meta)
    with pytest.raises(CheckpointError, match="changed since this run began"):
        check_sources(job.folder(0), job.sources(0))


def assert_the_command_finds_the_module(folder, teacher):
    """`cifarzoo train` with a teacher whose module lies beside the file of a student of the zoo."""
    keys = {
        "model": "cifar_resnet8",
        "dataset": {"arrays": "photos.npz"},
        "teacher": str(teacher),
        "augmentation": "none",
        "train_parameters": {"batch_size": 20},
    }
    (folder / "e.yaml").write_text(json.dumps(keys), encoding="utf-8")
    result = run_command("e.yaml", "--dry-run", cwd=folder, script=True)
    assert result.returncode == 0 and "of them the teacher's" in result.stdout, result.stderr


def test_the_module_of_a_teacher_is_a_source_of_its_student(tmp_path, monkeypatch):
    """Another normalization is another teacher, also of views; its network is built for the size of the images."""
    source = Path(__file__).with_name("tiny_models.py").read_text(encoding="utf-8")
    (tmp_path / "own_teachers.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    images = np.random.RandomState(0).randint(0, 256, (60, 16, 16, 3)).astype(np.uint8)
    labels = np.arange(60) % 3
    np.savez(tmp_path / "photos.npz", x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    photos = {"dataset": {"arrays": str(tmp_path / "photos.npz")}, "model": "sized_cnn", "model_parameters": {}}
    first = experiment(tmp_path, module="own_teachers", train_parameters={"run_name": "teacher"}, **photos)
    dataset, folder = load(first.dataset), RunFolder.of(first, 0)
    network = build_model(first, 3, 0, dataset.inputs)
    folder.path.mkdir(parents=True)
    folder.write_config(first)
    save_weights(network, folder.weights_path, describe(first, network, dataset.class_names))

    teacher = {"model": str(folder.path), "views": 2}
    zoo = {"model": "cifar_resnet8", "module": None, "augmentation": "none"}
    job = prepare(experiment(tmp_path, teacher, **photos | zoo), dataset)
    (loaded,) = job.parts.teacher.models
    assert loaded.input_shape == (None, 16, 16, 3)
    assert_the_command_finds_the_module(tmp_path, folder.path)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), network.predict(images, verbose=0))
    before, cache = job.sources(0), cache_folder(job, 0)
    assert "own_teachers.py" in before
    (tmp_path / "own_teachers.py").write_text(source.replace("offset=-2", "offset=-1"), encoding="utf-8")
    after = job.sources(0)
    assert not set(before["own_teachers.py"]) & set(after["own_teachers.py"]) and cache_folder(job, 0) != cache
