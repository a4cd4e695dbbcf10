"""The Python snippets of README.md run as they stand; what would take minutes or the network is replaced."""

import re
import types

import numpy as np
import pytest
from model_cases import ROOT

import cifarzoo
from cifarzoo.data import Dataset
from cifarzoo.experiment.files import experiment_from
from cifarzoo.training.train import _sections

SNIPPETS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
IMAGES = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 3)).astype(np.uint8)
LABELS = np.arange(8) % 7


def load_data(name):
    """Return a tiny data set instead of CIFAR-10."""
    assert name == "cifar10"
    names = cifarzoo.data.dataset.CLASS_NAMES["cifar10"][0]
    return Dataset.from_arrays("tiny", (IMAGES, LABELS), (IMAGES, LABELS), names)


def train(model, dataset, recipe, logdir, run_name, **changes):
    """Check the arguments and call the model once instead of training it."""
    assert isinstance(dataset, Dataset) and dataset.classes == 7
    assert model(IMAGES.astype("float32")).shape == (8, 7)
    call = {"model": run_name, "dataset": "synthetic", "train_parameters": {"logdir": logdir, "run_name": run_name}}
    experiment_from([call, _sections(changes, own_model=True)], "README.md")
    return types.SimpleNamespace(results=types.SimpleNamespace(test={"error": 1.0}), folder=logdir, model=model)


def run_all(experiments, callbacks):
    """Check the arguments instead of training."""
    assert [type(one) for one in experiments] == [cifarzoo.Experiment] and len(callbacks) == 1
    return []


@pytest.fixture(scope="module")
def namespace():
    """What one snippet leaves for the next."""
    arrays = {"images": IMAGES, "labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}
    return arrays.copy()


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.strip().splitlines()[-1][:40])
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras' own, for tf2onnx
def test_snippet(snippet, namespace, tmp_path, monkeypatch):
    import keras

    if "onnx" in snippet:
        pytest.importorskip("tf2onnx")
    weights = tmp_path / "logs" / "resnet20_v1" / "seed0" / "final.weights.h5"
    if str(weights.relative_to(tmp_path)) in snippet:
        weights.parent.mkdir(parents=True)
        cifarzoo.save_weights(cifarzoo.cifar_resnet20(), weights)
    (tmp_path / "experiments.yaml").write_bytes((ROOT / "experiments.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    for name, replacement in (("load_data", load_data), ("train", train), ("run_all", run_all)):
        monkeypatch.setattr(cifarzoo, name, replacement, raising=False)
    monkeypatch.setattr(keras.Model, "fit", lambda model, images, labels: model.test_on_batch(images, labels))
    exec(compile(snippet, "README.md", "exec"), namespace)  # the namespace goes from snippet to snippet


def test_there_are_snippets():
    assert len(SNIPPETS) >= 6
