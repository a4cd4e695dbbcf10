"""Any Keras optimizer as an update rule: 50 steps as Keras' own, on both engines; resume; what is refused."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from model_cases import ROOT, run_python
from test_optimizer import RATES

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.merging import apply_override
from cifarzoo.experiment.optimizers import KERAS_OPTIMIZERS, WRAPPERS, SGDParameters
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.training.build import build_optimizer
from cifarzoo.training.optimizers.keras_rule import KerasRule

SCHEDULE = {"kind": "cosine", "peak": 0.001, "duration": 10}
# Classes of which 50 compiled steps are compared; of the others it is ten, which are not compiled, to save time.
COMPILED = ("Adam", "AdamW", "Lion", "RMSprop", "keras.optimizers.Muon")


def experiment(optimizer, **parameters):
    parameters = {"schedule": SCHEDULE} | parameters | {"optimizer": optimizer}
    document = {"model": "cifar_resnet20", "train_parameters": parameters}
    return experiment_from([document], "new.yaml, document 1")


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False)


def first_weights():
    """A kernel of a convolution, a bias and two matrices."""
    random = np.random.RandomState(0)
    return [0.3 * random.randn(*shape) for shape in ((3, 3, 2, 4), (4,), (4, 3), (3, 2))]


def gradients_of(weights):
    return [weight * scale - 1 for weight, scale in zip(weights, (3.0, 0.5, 1.0, 2.0), strict=True)]


def ours(rule, rates, in_graph=False):
    """The weights after a step at each of the rates, in float64, as arrays."""
    variables = [keras.Variable(weight, dtype="float64") for weight in first_weights()]
    bound = rule.bind(variables)
    update = compiled(bound.update) if in_graph else bound.update
    weights = [ops.convert_to_tensor(variable) for variable in variables]
    slots = [ops.copy(ops.convert_to_tensor(value)) for value in bound.slots.values()]
    for step, rate in enumerate(rates):
        gradients = [ops.convert_to_tensor(g, "float64") for g in gradients_of([np.asarray(w) for w in weights])]
        rate, step = ops.convert_to_tensor(rate, "float64"), ops.convert_to_tensor(step, "int32")
        weights, slots, _ = update(weights, gradients, slots, rate, step)
    return [np.asarray(weight) for weight in weights]


def of_keras(name, rates, **arguments):
    """The weights after as many calls of `apply` of Keras' own optimizer, with decay of kernels only."""
    with arithmetic("float64"):
        return steps_of_keras(name, rates, **arguments)


def steps_of_keras(name, rates, **arguments):
    """See `of_keras`."""
    variables = [keras.Variable(weight, dtype="float64") for weight in first_weights()]
    optimizer = getattr(keras.optimizers, name)(learning_rate=1.0, **arguments)
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    optimizer.build(variables)
    for rate in rates:
        optimizer.learning_rate = rate
        gradients = gradients_of([np.asarray(v.value) for v in variables])
        optimizer.apply([ops.convert_to_tensor(g, "float64") for g in gradients], variables)
    return [np.asarray(v.value) for v in variables]


def assert_as_in_keras(names):
    for name in names:
        arguments, in_graph = {} if name == "Lamb" else {"weight_decay": 0.05}, name in COMPILED
        rates = RATES if in_graph else RATES[::5]
        found = ours(KerasRule(name, arguments), rates, in_graph)
        expected = of_keras(name.rpartition(".")[2], rates, **arguments)
        for a, b, first in zip(found, expected, first_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12, err_msg=name)
            assert np.abs(a - first).max() > 1e-4, name


def test_fifty_steps_as_keras_own_on_tensorflow():
    """ScheduleFreeAdamW is compared on JAX: Keras' own reads a slot on TensorFlow after it has changed it."""
    pytest.importorskip("tensorflow")
    assert_as_in_keras([name for name in (*KERAS_OPTIMIZERS, *COMPILED[-1:]) if name != "ScheduleFreeAdamW"])


def test_fifty_steps_as_keras_own_on_jax():
    code = """
import jax
jax.config.update("jax_enable_x64", True)
import test_keras_optimizers as tests
with tests.arithmetic("float64"):
    tests.assert_as_in_keras([*tests.COMPILED, "ScheduleFreeAdamW"])
"""
    run_python(code, backend="jax")


def test_every_class_of_keras_is_listed():
    classes = {name for name, value in vars(keras.optimizers).items() if isinstance(value, type)} - {"Optimizer"}
    assert classes == {*KERAS_OPTIMIZERS, *WRAPPERS, "SGD", "Muon"}


def test_gradients_are_clipped_before():
    rule = KerasRule("keras.optimizers.SGD", clip_norm=1.0)
    variables = [keras.Variable([0.0, 0.0]), keras.Variable([[0.0]])]
    bound = rule.bind(variables)
    gradients = [ops.convert_to_tensor([3.0, 0.0]), ops.convert_to_tensor([[4.0]])]
    new, _, norm = bound.update([v.value for v in variables], gradients, [], 1.0, 0)
    assert float(norm) == pytest.approx(5)
    np.testing.assert_allclose(np.asarray(new[0]), [-0.6, 0], rtol=1e-6)


def run_on(backend, folder, *options):
    code = f"import runpy, sys; runpy.run_path({str(ROOT / 'tests' / 'optimizer_runs.py')!r}, run_name='__main__')"
    return json.loads(run_python(code, str(folder), *options, backend=backend).splitlines()[-1])


@pytest.fixture(scope="module")
def on_tensorflow(tmp_path_factory):
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("optimizers")
    return run_on("tensorflow", folder), folder


def assert_alike(found, expected):
    for name, one in expected.items():
        other = found[name]
        assert other["resumed"] and all(other["moved"].values()), name
        if name == "noisy":  # each backend has random numbers of its own
            assert set(other["names"]) == set(one["names"])
            continue
        assert other["names"] == one["names"], name
        # Keras' TensorFlow backend rounds factors such as AdamW's betas to float32.
        np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-6, err_msg=name)


def test_both_engines_train_alike_and_resume_with_the_same_bits(on_tensorflow):
    """With accumulation, SAM, clipping and an average; with Lookahead; and with two classes of the user's."""
    expected, folder = on_tensorflow
    assert_alike(expected, expected)
    assert_alike(run_on("jax", folder), expected)


@pytest.mark.slow
def test_two_replicas_give_the_losses_of_one(on_tensorflow):
    expected, folder = on_tensorflow
    found = run_on("tensorflow", folder, "--cpus", "2")
    for name, two in found.items():
        np.testing.assert_allclose(two["losses"], expected[name]["losses"], rtol=1e-9, err_msg=name)


@pytest.mark.slow
def test_a_seed_trains_beside_another_as_alone(on_tensorflow):
    found = run_on("jax", on_tensorflow[1], "--together")
    for name, one in found.items():
        np.testing.assert_allclose(one["together"], one["losses"][:3], rtol=1e-9, err_msg=name)
        assert np.abs(np.subtract(one["second"], one["together"])).min() > 1e-3, name


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (3, "optimizer: expected a name, or a mapping such as {name: AdamW, weight_decay: 0.05}, got 3"),
        ({}, "optimizer: expected the key name, such as {name: AdamW, weight_decay: 0.05}"),
        ({"name": 3}, "optimizer: expected the key name, such as {name: AdamW, weight_decay: 0.05}, got 3"),
        ("adam", "optimizer: no optimizer has the name 'adam'; did you mean Adam?"),
        ("my..Class", "optimizer: no optimizer has the name 'my..Class'; known are SGD, Muon, Adadelta"),
        ("MultiOptimizer", "optimizer: MultiOptimizer: for two optimizers in one network, write name: Muon with"),
        ("LossScaleOptimizer", "optimizer: LossScaleOptimizer: losses are not scaled here; precision: bfloat16"),
        ({"name": "AdamW", "learning_rate": 1}, "optimizer: learning_rate: the schedule sets the rate; write train_p"),
        ({"name": "AdamW", "use_ema": True}, "optimizer: use_ema: write train_parameters.ema_decay, beside optimizer"),
        ({"name": "Adam", "gradient_accumulation_steps": 2}, "optimizer: gradient_accumulation_steps: write train_par"),
        ({"name": "Adam", "global_clipnorm": 2}, "optimizer: global_clipnorm: write train_parameters.clip_norm"),
        ({"name": "Adam", "loss_scale_factor": 2}, "optimizer: loss_scale_factor: losses are not scaled here"),
        ({"name": "Adam", "rest": "SGD"}, "optimizer: rest: only Muon has a rest: the variables that it does not"),
        ({"name": "Adam", "weight_decay": -1}, "optimizer: weight_decay: must be at least 0, got -1"),
        ({"name": "Adam", "beta_1": [[1]]}, "optimizer: beta_1: expected a finite number, true, false or text"),
        ({"name": "Adam", "epsilon": float("nan")}, "optimizer: epsilon: expected a finite number, true, false or"),
        ({"name": "Adam", "decay_all": 1}, "optimizer.decay_all: expected true or false, got 1"),
        ({"name": "SGD", "beta_1": 1}, "optimizer.beta_1: unknown key; known are name, momentum, momentum_convention"),
        ({"name": "SGD", "learning_rate": 1}, "optimizer.learning_rate: unknown key; the schedule sets the rate"),
        ({"name": "SGD", "momentum": 1}, "optimizer.momentum: must be less than 1, got 1.0"),
        ({"name": "Muon", "rms_rate": 1}, "optimizer.rms_rate: unknown key; write scale: rms, which is 0.2, or"),
        ({"name": "Muon", "scale": "big"}, "optimizer.scale: expected 'rms' or 'spectral', got 'big'"),
        ({"name": "Muon", "ns_steps": 0}, "optimizer.ns_steps: must be greater than 0, got 0"),
        ({"name": "Muon", "exclude": "stem"}, "optimizer.exclude: expected a list, got 'stem'"),
        ({"name": "Muon", "rest": "Muon"}, "optimizer.rest: Muon cannot update what it leaves to the rest"),
        (
            {"name": "Muon", "rest": {"name": "SGD", "learning_rate_factor": 0}},
            "optimizer.rest.learning_rate_factor: must be greater than 0, got 0",
        ),
        ({"name": "Muon", "rest": {"name": "Adam", "lr": 1}}, "optimizer.rest: lr: the schedule sets the rate"),
    ],
)
def test_mistakes_are_one_line(optimizer, message):
    with pytest.raises(ExperimentError) as failure:
        experiment(optimizer)
    line = str(failure.value)
    assert line.startswith(f"new.yaml, document 1: train_parameters.{message}") and "\n" not in line, line


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"optimizer": "AdamW", "momentum": 0.5, "nesterov": True},
            "momentum, nesterov: keys of SGD, which `optimizer: AdamW` replaces; leave them out",
        ),
        (
            {"optimizer": "AdamW", "weight_decay": 0.1},
            "weight_decay: a key of SGD, which `optimizer: AdamW` replaces; leave it out, or write what AdamW",
        ),
        (
            {"optimizer": "AdamW", "weight_decay": 1e-4, "momentum": 0.9},
            "momentum, weight_decay: keys of SGD, which `optimizer: AdamW` replaces; leave them",
        ),
        ({"optimizer": "AdamW", "bias_lr_factor": 2}, "bias_lr_factor: a key of SGD, which `optimizer: AdamW`"),
        ({"optimizer": "AdamW", "schedule": None}, "optimizer: the default rates are for SGD; write a schedule for"),
        ({"optimizer": "ScheduleFreeAdamW", "lookahead": {}}, "lookahead: ScheduleFreeAdamW infers its average from"),
    ],
)
def test_what_does_not_combine(parameters, message):
    with pytest.raises(ExperimentError) as failure:
        experiment(**parameters)
    assert str(failure.value).startswith(f"new.yaml, document 1: train_parameters: {message}")


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"name": "AdamW", "beta1": 0.5}, "AdamW has no argument 'beta1'; did you mean beta_1?"),
        ({"name": "Lion", "zzz": 1}, "Lion has no argument 'zzz'; known are beta_1, beta_2, weight_decay"),
        ({"name": "Adam", "clipnorm": 1, "clipvalue": 1}, "Adam: ValueError: Only one of `clipnorm`, `clipvalue` and"),
        ({"name": "Adam", "beta_1": "x"}, "Adam: "),
        ({"name": "AdamW", "beta_1": 10**400}, "AdamW: "),
        ({"name": "AdamW", "weight_decay": "much"}, "AdamW: "),
        ("keras.optimizers.Optimizer", "keras.optimizers.Optimizer: "),
        ("no_such_module.Adam", "cannot import 'no_such_module' (ModuleNotFoundError: No module named"),
        ("json.Adam", "json has no class 'Adam'"),
        ("json.JSONDecoder", "json.JSONDecoder is not a class derived from keras.optimizers.Optimizer"),
        ({"name": "Adam", "amsgrad": "no"}, "Adam: amsgrad: expected true or false, got 'no'"),
        ({"name": "Adam", "beta_1": True}, "Adam: beta_1: expected a number, got true"),
        ({"name": "Adam", "beta_1": 1.5}, "Adam: beta_1: expected a number from 0 to less than 1, got 1.5"),
        ({"name": "AdamW", "weight_decay": "0.1"}, "AdamW: weight_decay: expected a number, got '0.1'"),
        ({"name": "AdamW", "clipnorm": -1}, "AdamW: clipnorm: expected a positive number, got -1"),
        ("test_keras_optimizers.OfMatrices", "test_keras_optimizers.OfMatrices: ValueError: "),
        ({"name": "Muon", "rest": {"name": "Adam", "beta1": 1}}, "Adam has no argument 'beta1'; did you mean beta_1?"),
    ],
)
def test_what_only_keras_knows_is_found_before_training(optimizer, message):
    with pytest.raises(ExperimentError) as failure:
        build_optimizer(experiment(optimizer))
    line = str(failure.value)
    assert line.startswith(f"new.yaml, document 1 (cifar_resnet20): train_parameters.optimizer: {message}"), line


class Noisy(keras.optimizers.Optimizer):
    """Draws noise as a subclass says."""

    def __init__(self, learning_rate=0.01, **options):
        super().__init__(learning_rate, **options)
        self.generators = {"noise": [keras.random.SeedGenerator(3)]}

    def noise(self, shape):
        return keras.random.normal(shape, seed=self.generators["noise"][0])

    def update_step(self, gradient, variable, learning_rate):
        noise = ops.cast(self.noise(variable.shape), variable.dtype)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * noise)


class OfKeras(Noisy):
    def noise(self, shape):
        return keras.random.normal(shape)


class OfMatrices(Noisy):
    def noise(self, shape):
        if len(shape) > 2:
            raise ValueError("no convolutions")
        return ops.zeros(shape)


class OfNumPy(Noisy):
    def noise(self, shape):
        return np.random.default_rng().normal(size=shape)


class WithoutUpdate(keras.optimizers.Optimizer):
    pass


class WithoutMatrices(Noisy):
    def noise(self, shape):
        raise NotImplementedError("only vectors")


class OfModule(Noisy):
    generator = keras.random.SeedGenerator(1)

    def noise(self, shape):
        return keras.random.normal(shape, seed=self.generator)


def test_every_step_of_an_own_class_has_random_numbers_of_its_own():
    rule = KerasRule("test_keras_optimizers.Noisy")
    rule.check()
    one, two, three = (ours(rule, [0.1] * steps)[0] for steps in (1, 2, 3))
    steps = np.stack([one - first_weights()[0], two - one, three - two])
    assert np.abs(np.corrcoef(steps.reshape(3, -1))[np.triu_indices(3, 1)]).max() < 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OfKeras", "assigns to a variable that it does not own, and would find it unchanged in the next step; ran"),
        ("OfModule", "assigns to a variable that it does not own"),
        ("OfNumPy", "computes two results from one state; random numbers come from keras.random with a keras.random.S"),
    ],
)
def test_random_numbers_that_a_run_could_not_store_are_refused(name, message):
    with pytest.raises(ExperimentError, match=f"train_parameters.optimizer: test_keras_optimizers.{name}: {message}"):
        KerasRule(f"test_keras_optimizers.{name}").check()


def test_a_class_without_an_update_is_refused():
    message = r"WithoutUpdate: has no method update_step\(self, gradient, variable, learning_rate\)"
    with pytest.raises(ExperimentError, match=message):
        KerasRule("test_keras_optimizers.WithoutUpdate").check()
    with pytest.raises(ExperimentError, match="WithoutMatrices: .*only vectors"):
        KerasRule("test_keras_optimizers.WithoutMatrices").check()


def test_an_optimizer_replaces_the_sgd_of_a_recipe():
    recipe = {"nesterov": True, "weight_decay": 5e-4, "schedule": SCHEDULE}
    layers = [{"model": "cifar_resnet20", "train_parameters": recipe}]
    with_adamw = experiment_from([*layers, {"train_parameters": {"optimizer": "AdamW"}}], "")
    assert "nesterov" not in with_adamw.decisive()["train_parameters"]
    assert experiment_from([with_adamw.resolved()], "").fingerprint() == with_adamw.fingerprint()
    layers.append({"train_parameters": {"optimizer": {"name": "AdamW", "weight_decay": 0.1}}})
    again = experiment_from([*layers, {"train_parameters": {"optimizer": {"beta_1": 0.8}}}], "").train_parameters
    assert again.optimizer.arguments == {"weight_decay": 0.1, "beta_1": 0.8}
    other = experiment_from([*layers, {"train_parameters": {"optimizer": {"name": "Lion"}}}], "").train_parameters
    assert other.optimizer.arguments == {}
    sgd = experiment_from([*layers, {"train_parameters": {"optimizer": None, "momentum": 0.5}}], "").train_parameters
    assert build_optimizer(experiment_from([{"model": "a", "train_parameters": sgd.model_dump()}], "")).momentum == 0.5


def test_sgd_takes_over_the_sgd_of_a_recipe():
    recipe = {"model": "a", "train_parameters": {"momentum": 0.95, "weight_decay": 5e-4, "nesterov": True}}
    section = {"name": "SGD", "nesterov": False}
    expected = SGDParameters(name="SGD", momentum=0.95, weight_decay=5e-4, nesterov=False)
    changed = {"model": "a", "train_parameters": dict(recipe["train_parameters"])}
    apply_override(changed, "train_parameters.optimizer={name: SGD, nesterov: false}")
    for layers in ([recipe, {"train_parameters": {"optimizer": section}}], [changed]):
        assert experiment_from(layers, "").train_parameters.optimizer == expected


def test_an_argument_of_a_bare_name_is_set():
    document = {"train_parameters": {"optimizer": "AdamW"}}
    apply_override(document, "train_parameters.optimizer.weight_decay=0.2")
    assert document == {"train_parameters": {"optimizer": {"name": "AdamW", "weight_decay": 0.2}}}


def test_sgd_in_the_section_is_the_sgd_without_it():
    keys = {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "weight_decay_mode": "decoupled"}
    assert build_optimizer(experiment({"name": "SGD"} | keys, clip_norm=1)) == build_optimizer(
        experiment(None, clip_norm=1, **keys)
    )


def test_the_module_of_an_own_class_is_hashed_and_searched_for_beside_the_file(tmp_path, monkeypatch):
    from cifarzoo.training.sources import sources_of

    (tmp_path / "own_rules.py").write_text("import keras\nclass Own(keras.optimizers.SGD): pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    alone, as_rest = experiment("own_rules.Own"), experiment({"name": "Muon", "rest": "own_rules.Own"})
    assert alone.modules == as_rest.modules == ["own_rules"] and experiment("keras.optimizers.Adam").modules == []
    assert list(sources_of(alone, 0)) == ["own_rules.py"]
    assert build_optimizer(alone) == KerasRule("own_rules.Own")
