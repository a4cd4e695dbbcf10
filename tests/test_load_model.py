"""Models by name, tag, file and folder; what cannot be loaded is one line."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from evaluation_cases import small_dataset
from tiny_models import tiny_cnn

from cifarzoo import cifar_resnet20
from cifarzoo.checksum import sha256
from cifarzoo.errors import DataError, WeightsError
from cifarzoo.evaluation.evaluate import evaluate, predict
from cifarzoo.evaluation.load_model import LoadedModel, load_model
from cifarzoo.models.registry import build_described
from cifarzoo.pretrained.description import description_of, save_weights
from cifarzoo.pretrained.loading import initialize, load_file
from cifarzoo.pretrained.manifest import manifest_path


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tiny_cnn()


@pytest.mark.parametrize(
    ("content", "message"),
    [("model: [", r"config\.yaml: not valid YAML at line 1: "), ("", r"config\.yaml: expected the configuration")],
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


@pytest.mark.parametrize(
    "load, name, changes, message",
    [
        (initialize, "a.keras", {"activation": "softmax"}, "with other outputs than"),
        (load_file, "a.keras", {"classes": 5}, "a.keras: not an HDF5 file"),  # whose backbone fits
        # Keras has loaded the first layer when it meets the second.
        (load_file, "a.weights.h5", {"filters": 5}, "does not fit"),
    ],
)
def test_a_refused_file_leaves_the_model_as_it_was(tmp_path, caplog, load, name, changes, message):
    def network(prefix="", filters=4, classes=3, activation=None):
        layers = [keras.layers.Conv2D(3, 1), keras.layers.Conv2D(filters, 1), keras.layers.GlobalMaxPooling2D()]
        layers += [keras.layers.Dropout(0.5), keras.layers.Dense(classes, activation=activation)]
        for number, layer in enumerate(layers):
            layer.name = f"{prefix}{number}"
        return keras.Sequential([keras.Input((32, 32, 3)), *layers])

    source = network(**changes)
    source.save(tmp_path / name) if name.endswith(".keras") else source.save_weights(tmp_path / name)
    model = network("other" if "filters" in changes else "")
    before = [np.array(variable) for variable in model.variables]
    with pytest.raises(WeightsError, match=message):
        load(model, tmp_path / name, *([build_described] if load is initialize else []))
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)


def test_bad_saved_models(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a saved Keras model"):
        load_model(str(tmp_path / "broken.keras"))
    with pytest.raises(WeightsError, match="no such saved model"):
        load_model(str(tmp_path / "none.keras"))


def test_a_weight_file_that_describes_itself_needs_no_name(tmp_path):
    model = cifar_resnet20(block_type="original", classes=100)
    path = tmp_path / "mine.weights.h5"
    save_weights(model, path, dataclasses.replace(description_of(model), dataset="cifar100"))
    loaded = load_model(str(path))
    assert (loaded.dataset, loaded.source, loaded.train_split) == ("cifar100", str(path), "")
    images = small_dataset().test.images[:8]
    np.testing.assert_allclose(predict(loaded.model, images), predict(model, images), atol=1e-5)
    by_name = load_model("cifar_resnet20", str(path), {"block_type": "original", "classes": 100})
    assert by_name.dataset == "cifar100"
    np.testing.assert_allclose(predict(by_name.model, images), predict(model, images), atol=1e-5)


def test_a_weight_file_without_a_description_needs_the_models_name(tmp_path, caplog):
    model = cifar_resnet20()
    path = tmp_path / "old.weights.h5"
    model.save_weights(path)
    with pytest.raises(WeightsError, match="does not say what it contains; name the run's folder"):
        load_model(str(path))
    loaded = load_model("cifar_resnet20", str(path))
    assert loaded.dataset == "cifar10" and "does not say what it contains" in caplog.text
    images = small_dataset().test.images[:8]
    np.testing.assert_allclose(predict(loaded.model, images), predict(model, images), atol=1e-5)
    with pytest.raises(WeightsError, match="no such weight file"):
        load_model(str(tmp_path / "none.weights.h5"))


def test_a_published_file_is_known_by_its_tag_and_by_its_hash(tmp_path, monkeypatch):
    model = cifar_resnet20()
    model.save_weights(tmp_path / "fresh.weights.h5")
    (entry,) = json.loads(manifest_path().read_text(encoding="utf-8"))[:1]
    entry |= {"tag": "fresh", "aliases": ["old_name"], "model": "cifar_resnet20", "classes": 10, "dataset": "cifar10"}
    entry |= {"architecture": {}, "default": True, "sha256": sha256(tmp_path / "fresh.weights.h5")}
    (tmp_path / "manifest.json").write_text(json.dumps([entry]), encoding="utf-8")
    monkeypatch.setenv("CIFARZOO_WEIGHTS", str(tmp_path))
    renamed = tmp_path / "renamed.weights.h5"
    renamed.write_bytes((tmp_path / "fresh.weights.h5").read_bytes())
    images = small_dataset().test.images[:8]
    for name in ("fresh", "old_name", str(renamed), "cifar_resnet20"):
        loaded = load_model(name)
        assert (loaded.source, loaded.train_split) == ("fresh", "train"), name
        np.testing.assert_allclose(predict(loaded.model, images), predict(model, images), atol=1e-5)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    """ResNet-20's two kinds of blocks have the same shapes."""
    path = tmp_path / "a.weights.h5"
    cifar_resnet20().save_weights(path)  # says nothing about itself
    for described in (False, True):
        if described:
            save_weights(cifar_resnet20(), path)
        with pytest.raises(WeightsError, match="a.weights.h5: (does not fit|contains) .*"):
            load_model("cifar_resnet20", str(path), {"block_type": "preactivated"})
        assert load_model("ResNet20", str(path), {}).model.name == "cifar_resnet20"


def test_load_takes_the_name_of_a_model_as_evaluate_does():
    import cifarzoo

    tagged = cifarzoo.load("resnet20_v1_cifar10_200ep_s0")  # the default of this network
    for name in ("cifar_resnet20", "ResNet20"):
        for one, other in zip(cifarzoo.load(name).get_weights(), tagged.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(WeightsError, match=r"cifar_resnet110\(.*: no published weights; for cifar_resnet110 there is"):
        cifarzoo.load("cifar_resnet110")
    with pytest.raises(WeightsError, match="resnet2000: neither a .weights.h5 or .keras file nor published weights"):
        cifarzoo.load("resnet2000")
