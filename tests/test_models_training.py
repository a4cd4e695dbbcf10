"""Every family trains through run_experiments.py on both engines, and its random layers resume bit for bit."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from model_cases import ROOT
from test_engine_tensorflow import HERE, document, finish, start

ENGINES = {"tensorflow": {"KERAS_BACKEND": "tensorflow"}, "jax": {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}}
# XLA takes about a minute for such tests.
BACKENDS = ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)]

# Run name -> model and its parameters. The models named tiny_* are builders of the zoo at their smallest.
MODELS = {
    "resnet": ("tiny_resnet", {}),
    "wide_resnet": ("cifar_wide_resnet", {"depth": 10, "width": 1, "dropout": 0.3}),
    "vgg": ("cifar_vgg11", {}),
    "shake_shake": ("tiny_shake_shake", {}),
    "pyramidnet": ("tiny_pyramidnet", {}),
    "pyramidnet_shake_drop": ("tiny_pyramidnet", {"bottleneck": True, "shake_drop": True}),
    "pyramidnet_shake_drop_batch": ("tiny_pyramidnet", {"shake_drop": True, "shake_drop_mask": "batch"}),
    "skipnet_recurrent": ("tiny_skipnet", {"gate": "recurrent", "computation_cost": 0.01}),
    "skipnet_feed_forward": ("tiny_skipnet", {"gate": "feed_forward"}),
    "skipnet_reinforce": ("tiny_skipnet", {"stage": "reinforce", "computation_cost": 0.01}),
    "pyramid_skipnet": ("tiny_pyramid_skipnet", {}),
    "resnet9": ("cifar_resnet9", {}),
    "airbench94": ("cifar_airbench94", {}),
    "resnet18": ("cifar_resnet18", {}),
    "resnet8": ("cifar_resnet8", {}),
    "resnext29_32x4d": ("cifar_resnext29_32x4d", {}),
    "skipnet38": ("cifar_skipnet38", {"computation_cost": 0.01}),
}
# TensorFlow traces a small network in seconds; XLA compiles one in about fifteen.
QUICK = ["resnet", "skipnet_reinforce"]
# test_engine_agreement.py trains the others, or networks of the same layers, on JAX.
ON_JAX = ["wide_resnet", "pyramid_skipnet"]
BATCHES = [
    pytest.param("tensorflow", QUICK, id="tensorflow"),
    pytest.param(
        "tensorflow", [name for name in MODELS if name not in QUICK], id="tensorflow-slow", marks=pytest.mark.slow
    ),
    pytest.param("jax", ON_JAX, id="jax-slow", marks=pytest.mark.slow),
]


def experiments(folder, backend, models, **parameters):
    """Write documents that each train one step of eight images and predict the thousand images of `validation`."""
    return [
        {
            "model": model,
            "model_parameters": model_parameters,
            "module": "tiny_models" if model.startswith("tiny") else None,
            "backend": backend,
            "dataset": "synthetic",
            "train_split": "train45k",
            "val_split": "validation",
            "skip_error_test": name != "wide_resnet",
            "train_parameters": {
                "logdir": str(folder),
                "run_name": name,
                "batch_size": 8,
                "weight_decay": 0.0,
                "steps_per_call": 1,
                "schedule": {"kind": "constant", "learning_rate": 0.01, "duration": 1},
            }
            | parameters,
        }
        for name, (model, model_parameters) in models.items()
    ]


def run_experiments(folder, documents):
    """Do what a user does: write a YAML file, which sets the backend, and run one command."""
    file = folder / "experiments.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    environment |= {"PYTHONPATH": f"{ROOT}:{HERE}", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(ROOT / "run_experiments.py"), str(file)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


@pytest.mark.parametrize("backend, names", BATCHES)
def test_every_family_trains_through_the_runner(backend, names, tmp_path):
    models = {name: MODELS[name] for name in names}
    done = run_experiments(tmp_path, experiments(tmp_path, backend, models))
    assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        run = tmp_path / name / "seed0"
        results = json.loads((run / "results.json").read_text())
        assert (results["steps"], results["backend"], results["validation"]["n"]) == (1, backend, 1000)
        assert np.isfinite(results["validation"]["nll"])
        assert (run / "final.weights.h5").is_file()
        # Without weight decay the velocities after one step are the gradients.
        with np.load(run / "checkpoint.npz") as state:
            velocities = [state[key] for key in state.files if key.startswith("velocities/")]
        assert velocities and all(np.isfinite(v).all() and v.any() for v in velocities), name


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_random_layers_resume_to_the_same_bits(backend, tmp_path):
    """Shake-Shake, ShakeDrop, dropout and sampled gates, stopped half way and resumed in float32."""
    changes = {"model": "tiny_random", "precision": "float32"}
    whole = start(document(tmp_path / "whole", **changes), environment=ENGINES[backend])
    broken = document(tmp_path / "broken", **changes)
    stopped = finish(start(broken, "--interrupt-after", "12", environment=ENGINES[backend]))
    assert stopped["type"] == "Interrupted"
    resumed, whole = finish(start(broken, environment=ENGINES[backend])), finish(whole)
    assert resumed["losses"] == whole["losses"][12:] and len(whole["losses"]) == 24
    assert resumed["sha256"] == whole["sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ENGINES)
def test_gates_close_when_open_ones_are_dear(backend, tmp_path):
    """Both SkipNet stages in one file on either engine; the second starts from the weights of the first."""
    dear = {"gate": "recurrent", "computation_cost": 1.0}
    supervised, reinforce = experiments(
        tmp_path,
        backend,
        {"supervised": ("tiny_skipnet", dear), "reinforce": ("tiny_skipnet", dear | {"stage": "reinforce"})},
        schedule={"kind": "constant", "learning_rate": 0.05, "duration": 30},
    )
    # One step, which leaves the gates open for the second stage to close.
    supervised["train_parameters"]["schedule"] = {"kind": "constant", "learning_rate": 1e-6, "duration": 1}
    reinforce |= {"init_weights": "supervised/seed0/final.weights.h5", "skip_error_test": True}
    done = run_experiments(tmp_path, [supervised, reinforce])
    assert done.returncode == 0, done.stderr[-3000:]
    assert computation(tmp_path / "supervised/seed0") == 100
    assert computation(tmp_path / "reinforce/seed0") < 50


def computation(run):
    from cifarzoo.data import load
    from cifarzoo.evaluation.evaluate import evaluate
    from cifarzoo.evaluation.load_model import load_run
    from cifarzoo.runs.folder import RunFolder

    metrics, _ = evaluate(load_run(RunFolder(run)), load("synthetic"), "validation")
    return metrics["computation_percent"]
