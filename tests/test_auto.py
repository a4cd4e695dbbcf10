"""What `auto` resolves to on a device, and where bfloat16 is slow or wrong."""

import logging
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from cifarzoo import hardware
from cifarzoo.data import load
from cifarzoo.errors import DataError, ExperimentError
from cifarzoo.evaluation import evaluate as evaluation
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training import checks
from cifarzoo.training import resolve_auto as auto


@pytest.mark.parametrize(
    "cpuinfo, expected",
    [
        ("model name\t: Intel Xeon\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16\n", True),
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx avx2 fma\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd svebf16 i8mm bf16\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd\n", False),
        ("", None),  # not known
        ("processor : 0\nmodel name : a processor\n", None),
    ],
)
def test_bfloat16_is_asked_for_where_it_is_fast(cpuinfo, expected):
    assert hardware.multiplies_bfloat16(cpuinfo) is expected


@pytest.mark.parametrize("fast", [True, False, None])
def test_auto_is_what_is_fast_here_or_what_a_run_was_begun_with(tmp_path, monkeypatch, fast):
    monkeypatch.setattr(auto, "bfloat16_is_fast", lambda distribution: fast)
    monkeypatch.setattr(auto, "_bfloat16_is_right", lambda: True)
    experiment = Experiment(model="m", precision="auto", train_parameters={"logdir": str(tmp_path)})
    taken, other = ("bfloat16", "float32") if fast else ("float32", "bfloat16")
    assert auto.resolve_auto(experiment, [0], 50_000).precision == taken
    begun = tmp_path / "m/seed0"
    begun.mkdir(parents=True)
    (begun / "config.yaml").write_text(f"model: m\nprecision: {other}\n")
    assert auto.resolve_auto(experiment, [0], 50_000).precision == other
    assert auto.resolve_auto(experiment, [1], 50_000).precision == taken
    assert auto.resolve_auto(experiment, [1, 0], 50_000).precision == other
    (begun / "config.yaml").write_text("model: m\nprecision: bflo")
    assert auto.resolve_auto(experiment, [0], 50_000).precision == taken
    for given in ("float32", "bfloat16", "float64"):
        assert auto.resolve_auto(experiment.model_copy(update={"precision": given}), [0], 50_000).precision == given


@pytest.mark.parametrize("fast, said", [(True, 1), (False, 0)])
def test_auto_avoids_wrong_results_and_says_so_once(tmp_path, monkeypatch, caplog, fast, said):
    monkeypatch.setattr(auto, "bfloat16_is_fast", lambda distribution: fast)
    monkeypatch.setattr(auto, "bfloat16_fault", lambda: "JAX 0.11.2 is wrong")
    auto._bfloat16_is_right.cache_clear()
    experiment = Experiment(model="m", precision="auto", train_parameters={"logdir": str(tmp_path)})
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        for seed in (0, 1):
            assert auto.resolve_auto(experiment, [seed], 50_000).precision == "float32"
    auto._bfloat16_is_right.cache_clear()
    assert caplog.messages == ["JAX 0.11.2 is wrong: `precision: auto` means float32 here"] * said


def test_wrong_results_are_refused_in_training_and_evaluation(monkeypatch):
    monkeypatch.setattr(checks, "bfloat16_fault", lambda: "JAX 0.11.2 is wrong")
    monkeypatch.setattr(evaluation, "bfloat16_fault", lambda: "JAX 0.11.2 is wrong")
    experiment = Experiment(model="m")
    for dtype in ("float32", "mixed_bfloat16"):
        inner = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(3, 1, dtype=dtype)])
        model = keras.Sequential([inner, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)])
        if dtype == "float32":
            checks.check_model(experiment, model, 128)
            continue
        with pytest.raises(ExperimentError, match="precision: JAX 0.11.2 is wrong, and m would be measured wrongly"):
            checks.check_model(experiment, model, 128)
        with pytest.raises(DataError, match="x: is in bfloat16, and JAX 0.11.2 is wrong"):
            evaluation.evaluate(LoadedModel(model, "synthetic", "x"), load("synthetic"))


@pytest.mark.parametrize("wrong", [False, True])
def test_the_program_that_some_jax_versions_get_wrong_is_run(monkeypatch, wrong):
    """Whether this JAX is right is not known; the program is, compiled in one way or the other."""
    import jax

    def compiled(function):
        return lambda a, b: function(a, b).at[5].set(float("nan")) if wrong else function(a, b)

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(jax, "jit", compiled)
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform="cpu")])
    hardware.bfloat16_fault.cache_clear()
    line = hardware.bfloat16_fault()
    hardware.bfloat16_fault.cache_clear()
    assert line == (f"JAX {jax.__version__} computes bfloat16 wrongly on this processor" if wrong else None)


@pytest.mark.parametrize("fast, said", [(False, True), (True, False), (None, False)])
def test_a_slow_wish_is_named(monkeypatch, fast, said):
    monkeypatch.setattr(hardware, "bfloat16_is_fast", lambda distribution: fast)
    line = hardware.slow_precision("bfloat16", "auto")
    assert ("`precision: auto`" in line) if said else line is None
    assert hardware.slow_precision("float32", "auto") is None


def test_here_it_is_the_processor_that_decides():
    cpuinfo = Path("/proc/cpuinfo")
    expected = hardware.multiplies_bfloat16(cpuinfo.read_text()) if cpuinfo.is_file() else None
    assert hardware.bfloat16_is_fast("auto") is expected
    assert hardware.bfloat16_is_fast("tpu")


@pytest.mark.parametrize(
    "model, batch_size, accelerator, steps",
    [
        ("cifar_resnet20", 128, False, 32),  # 1e12 operations / (128 * 6 * 40.55e6)
        ("cifar_resnet20", 16, False, 50),
        ("cifar_wrn_28_10", 128, False, 1),
        ("of_my_own", 128, False, 50),
        ("cifar_resnet20", 128, True, 200),  # an epoch would be cut by the log's interval of 200
        ("cifar_wrn_28_10", 128, True, 25),  # 1e14 / (128 * 6 * 5.246e9)
        ("of_my_own", 128, True, 50),
    ],
)
def test_calls_last_about_ten_seconds(monkeypatch, model, batch_size, accelerator, steps):
    monkeypatch.setattr(auto, "on_accelerator", lambda experiment: accelerator)
    experiment = Experiment(model=model, train_parameters={"batch_size": batch_size})
    assert auto.resolve_auto(experiment, [0], 50_000).train_parameters.longest_call == steps
    given = Experiment(model=model, train_parameters={"batch_size": batch_size, "steps_per_call": 7})
    assert auto.resolve_auto(given, [0], 50_000).train_parameters.longest_call == 7


@pytest.mark.parametrize(("log", "steps"), [({"epochs": 1}, 391), (300, 300), (17, 391), (400, 200), (390, 390)])
def test_an_accelerators_calls_are_of_one_length(monkeypatch, log, steps):
    """At most an epoch of 391 steps; of an interval that only short calls divide, calls are cut."""
    monkeypatch.setattr(auto, "on_accelerator", lambda experiment: True)
    intervals = {"log_interval": log, "val_interval": {"epochs": 10_000}, "checkpoint_interval": log}
    experiment = Experiment(model="cifar_resnet20", train_parameters=intervals)
    assert auto.resolve_auto(experiment, [0], 50_000).train_parameters.longest_call == steps


def test_sam_halves_the_steps_of_a_call():
    experiment = Experiment(model="cifar_resnet20", train_parameters={"sam_rho": 0.05})
    assert auto.resolve_auto(experiment, [0], 50_000).train_parameters.longest_call == 16
