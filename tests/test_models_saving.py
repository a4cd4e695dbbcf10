"""A model's files give the same results in another model, without this package, and on every backend."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from model_cases import CASES, QUICK, assert_close, fill, pixels, run_python

# Keras reads TensorFlow's variables through NumPy, whose newest version dislikes how they answer.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

GOLDEN = Path(__file__).with_name("golden_logits.json")

WITHOUT_PACKAGE = """
import sys
import keras, numpy as np
folder, *names = sys.argv[1:]
for name in names:
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    np.save(f"{folder}/{name}.npy", model(np.load(f"{folder}/images.npy")))
"""

ON_BACKEND = """
import sys
import keras, numpy as np
from model_cases import CASES, pixels
folder, backend, *names = sys.argv[1:]
assert keras.backend.backend() == backend
for case in CASES:
    if str(case) in names:
        model = case.build()
        model.load_weights(f"{folder}/{case}.weights.h5")
        np.save(f"{folder}/{case}.npy", model.predict_on_batch(pixels()))
"""


# The backends and the bare interpreter start anew for every test: a few seconds a model.
COSTS = [
    pytest.param(QUICK, id="quick"),
    pytest.param([case for case in CASES if case not in QUICK], id="others", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def models():
    models = {str(case): case.build() for case in CASES}
    for model in models.values():
        fill(model)
    return models


@pytest.fixture(scope="module")
def golden():
    return {name: np.array(values) for name, values in json.loads(GOLDEN.read_text()).items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_from_sequential_weights_stay_the_same(case, models, golden):
    """Weight files identify layers only by class and order, so a changed order would load without an error."""
    assert_close(models[str(case)](pixels()), golden[str(case)], 1e-3)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.slow
def test_weight_file_round_trip(case, models, tmp_path):
    models[str(case)].save_weights(tmp_path / "model.weights.h5")
    other = case.build()
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(pixels()), models[str(case)](pixels()))


@pytest.mark.parametrize("cases", COSTS)
@pytest.mark.slow
def test_keras_files_open_with_keras_alone(cases, models, tmp_path):
    np.save(tmp_path / "images.npy", pixels())
    plain = [str(case) for case in cases if case.plain_keras]
    for name in plain:
        models[name].save(tmp_path / f"{name}.keras")
    run_python(WITHOUT_PACKAGE, str(tmp_path), *plain, with_package=False)
    for name in plain:
        assert_close(np.load(tmp_path / f"{name}.npy"), models[name](pixels()), 1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if not case.plain_keras], ids=str)
@pytest.mark.slow
def test_keras_files_with_layers_of_this_package(case, models, tmp_path):
    models[str(case)].save(tmp_path / "model.keras")
    other = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(other(pixels()), models[str(case)](pixels()))


@pytest.mark.parametrize("cases", COSTS)
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.slow
def test_same_logits_on_every_backend(backend, cases, models, tmp_path):
    pytest.importorskip(backend)
    names = list(map(str, cases))
    for name in names:
        models[name].save_weights(tmp_path / f"{name}.weights.h5")
    run_python(ON_BACKEND, str(tmp_path), backend, *names, backend=backend)
    for name in names:
        assert_close(np.load(tmp_path / f"{name}.npy"), models[name](pixels()), message=name)


def write_golden():
    """Write the reference file of the tests; use only for an intended change to the order of weights."""
    logits = {}
    for case in CASES:
        model = case.build()
        fill(model)
        logits[str(case)] = model(pixels()).numpy().astype(float).round(5).tolist()
    rows = (f'  "{name}": {json.dumps(values)}' for name, values in logits.items())
    GOLDEN.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    write_golden()
