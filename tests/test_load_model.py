"""Models by name, tag, file and folder; what cannot be loaded is one line."""

import keras
import numpy as np
import pytest
from evaluation_cases import small_dataset
from tiny_models import tiny_cnn

from cifarzoo.errors import DataError, WeightsError
from cifarzoo.evaluation.evaluate import evaluate
from cifarzoo.evaluation.load_model import LoadedModel, load_model


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tiny_cnn()


@pytest.mark.parametrize(
    ("content", "message"),
    [("model: [", r"config\.yaml: cannot be read \(while parsing"), ("", r"config\.yaml: expected the configuration")],
)
def test_a_damaged_configuration_of_a_run(tmp_path, content, message):
    (tmp_path / "config.yaml").write_text(content)
    (tmp_path / "final.weights.h5").write_bytes(b"")
    with pytest.raises(DataError, match=message):
        load_model(str(tmp_path))


def test_a_saved_model_is_evaluated(model, tmp_path):
    model.save(tmp_path / "tiny.keras")
    loaded = load_model(str(tmp_path / "tiny.keras"))
    assert loaded.dataset == "cifar10" and loaded.train_split == ""
    dataset = small_dataset()
    expected = evaluate(LoadedModel(model, "cifar10", "x"), dataset)[1]
    np.testing.assert_allclose(evaluate(loaded, dataset)[1], expected, atol=1e-5)


def test_bad_saved_models(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a saved Keras model"):
        load_model(str(tmp_path / "broken.keras"))
    with pytest.raises(WeightsError, match="no such saved model"):
        load_model(str(tmp_path / "none.keras"))
