"""Published weights: resolution, hashes, goldens, fine-tuning; the shipped manifest against its files."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

import cifarzoo
from cifarzoo.checksum import sha256
from cifarzoo.errors import WeightsError
from cifarzoo.models import registry
from cifarzoo.pretrained.files import find
from cifarzoo.pretrained.manifest import Published, manifest
from cifarzoo.pretrained.selection import weight_file

ROOT = Path(__file__).parent.parent
SHIPPED = manifest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A weights folder with one small made-up entry: ResNet-20 with freshly drawn weights."""
    import keras

    keras.utils.set_random_seed(5)
    model = cifarzoo.cifar_resnet20()
    model.save_weights(tmp_path / "mine.weights.h5")
    entry = Published(
        tag="mine",
        model="cifar_resnet20",
        architecture={"block_type": "original", "shortcut_type": "A"},
        classes=10,
        dataset="cifar10",
        default=True,
        sha256=sha256(tmp_path / "mine.weights.h5"),
        bytes=(tmp_path / "mine.weights.h5").stat().st_size,
        parameters=model.count_params(),
        macs=40_551_040,
        preprocessing={},
        metrics={"error": 8.0},
        training={},
    )
    (tmp_path / "manifest.json").write_text(json.dumps([dataclasses.asdict(entry)]))
    monkeypatch.setenv("CIFARZOO_WEIGHTS", str(tmp_path))
    return tmp_path, model


IMAGES = np.random.RandomState(0).randint(0, 256, (4, 32, 32, 3)).astype(np.uint8)


def logits(model):
    return np.asarray(model(IMAGES.astype(np.float32), training=False))


def test_true_tag_and_path_load_the_same(folder):
    path, model = folder
    for wanted in (True, "mine", str(path / "mine.weights.h5"), path / "mine.weights.h5"):
        np.testing.assert_array_equal(logits(cifarzoo.cifar_resnet20(load_weights=wanted)), logits(model))


def test_an_alias_loads_the_same(folder):
    path, model = folder
    (entry,) = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    entries = json.dumps([entry | {"aliases": ["also_mine"]}])
    (path / "manifest.json").write_text(entries, encoding="utf-8")
    np.testing.assert_array_equal(logits(cifarzoo.cifar_resnet20(load_weights="also_mine")), logits(model))


def test_tags_and_aliases_differ():
    tags = [tag for entry in SHIPPED for tag in (entry.tag, *entry.aliases)]
    assert len(set(tags)) == len(tags)


def test_backbone_for_other_classes_and_without_top(folder, caplog):
    _, model = folder
    with caplog.at_level("WARNING", "cifarzoo"):
        tuned = cifarzoo.cifar_resnet20(classes=37, load_weights=True)
    assert "backbone from mine" in caplog.text and "fresh classifier for 37 classes" in caplog.text
    assert logits(tuned).shape == (4, 37)
    bare = cifarzoo.cifar_resnet20(include_top=False, load_weights=True)
    features = np.asarray(bare(IMAGES.astype(np.float32), training=False))
    assert features.shape == (4, 8, 8, 64)
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(features.mean((1, 2)) @ kernel + bias, logits(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"block_type": "preactivated", "load_weights": True},
        {"shortcut_type": "B", "load_weights": True},
        {"classes": 100, "load_weights": True},
        {"classes": 100, "include_top": False, "load_weights": True},
        {"load_weights": "nonsense"},
    ],
)
def test_weights_that_do_not_exist_raise_and_list_what_does(folder, arguments):
    with pytest.raises(WeightsError, match=r"there is mine \(cifar_resnet20\(block_type='original', shortcut_type='A'"):
        cifarzoo.cifar_resnet20(**arguments)


def test_another_model_lists_all(folder):
    with pytest.raises(WeightsError, match="for cifar_resnet32 there is nothing yet; for other models mine"):
        cifarzoo.cifar_resnet32(load_weights=True)


def test_changed_file_is_refused(folder):
    path, _ = folder
    data = bytearray((path / "mine.weights.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "mine.weights.h5").write_bytes(data)
    with pytest.raises(WeightsError, match="not the published file: sha256"):
        cifarzoo.cifar_resnet20(load_weights=True)


def test_files_that_do_not_fit(folder, tmp_path):
    path, _ = folder
    with pytest.raises(WeightsError, match=r"mine.weights.h5: contains cifar_resnet20\(.*, not cifar_resnet32\("):
        cifarzoo.cifar_resnet32(load_weights=str(path / "mine.weights.h5"))
    with pytest.raises(WeightsError, match="no such weight file"):
        cifarzoo.cifar_resnet20(load_weights=str(tmp_path / "no.weights.h5"))
    (tmp_path / "text.weights.h5").write_text("not HDF5")
    with pytest.raises(WeightsError, match="text.weights.h5: not an HDF5 file"):
        cifarzoo.cifar_resnet20(load_weights=str(tmp_path / "text.weights.h5"))
    with pytest.raises(WeightsError, match="False, True, a tag or a path, got 3"):
        cifarzoo.cifar_resnet20(load_weights=3)


def test_earlier_tags_remain_valid(folder):
    path, model = folder
    (entry,) = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps([entry | {"aliases": ["yours", "theirs"]}]))
    np.testing.assert_array_equal(logits(cifarzoo.cifar_resnet20(load_weights="theirs")), logits(model))
    np.testing.assert_array_equal(logits(cifarzoo.load("yours")), logits(model))


@pytest.mark.slow
def test_fine_tuning_as_the_readme_has_it(folder):
    """The backbone stays, a fresh head learns two synthetic classes with plain Keras."""
    import keras

    from cifarzoo.data import load

    split = load("synthetic").train
    chosen = np.flatnonzero(split.labels < 2)[:128]
    model = cifarzoo.cifar_resnet20(classes=2, load_weights=True)
    model.compile(
        keras.optimizers.SGD(0.02, 0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(split.images[chosen], split.labels[chosen], batch_size=32, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


# ------------------------------------------------------------------------------------------------ what is shipped


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.tag)
def test_shipped_entry_is_true_to_its_file(entry):
    path = weight_file(entry)
    assert path.stat().st_size == entry.bytes and re.fullmatch("[0-9a-f]{64}", entry.sha256)
    model = registry.create_model(entry.model, classes=entry.classes, load_weights=entry.tag, **entry.architecture)
    assert model.count_params() == entry.parameters
    with np.load(find(entry.golden)) as golden:
        np.testing.assert_allclose(
            np.asarray(model(golden["images"].astype(np.float32), training=False)),
            golden["logits"],
            rtol=1e-3,
            atol=1e-3,
        )
    assert entry.metrics["n"] == 10_000 and 0 < entry.metrics["error"] < 100
    assert entry.training["experiment"]["train_split"] == "train"


def test_published_weights_load_across_training_only_arguments():
    """A file that was trained with ghost batches is the file of the network without."""
    trained = next((entry for entry in SHIPPED if entry.architecture.get("ghost_batch_size")), None)
    if trained is None:
        pytest.skip("no such file is published")
    arguments = trained.architecture | {"ghost_batch_size": None}
    model = registry.create_model(trained.model, load_weights=trained.tag, **arguments)
    with np.load(find(trained.golden)) as golden:
        found = model(golden["images"].astype(np.float32), training=False)
        np.testing.assert_allclose(np.asarray(found), golden["logits"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.tag)
def test_shipped_card_is_generated(entry):
    from cifarzoo.publishing.cards import card

    assert (ROOT / "weights" / f"{entry.tag}.md").read_text() == card(entry)


def test_readme_table_is_generated():
    from cifarzoo.publishing.pages import weights_table

    assert weights_table(SHIPPED) in (ROOT / "README.md").read_text()


def test_results_page_is_generated():
    from cifarzoo.publishing.pages import results_page

    assert results_page(SHIPPED, ROOT / "weights" / "anchors.yaml") == (ROOT / "RESULTS.md").read_text()


def test_one_default_an_architecture_and_data_set():
    keys = [(json.dumps(e.identity), e.dataset) for e in SHIPPED if e.default]
    assert len(keys) == len(set(keys))


# `cifarzoo evaluate --all` measures all; the golden logits of the large ones are compared above.
SMALL = [entry for entry in SHIPPED if entry.macs < 50e6]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("entry", SMALL, ids=lambda entry: entry.tag)
def test_published_metrics_are_measured_again(entry):
    import os

    from cifarzoo.evaluation.evaluate import evaluate_named

    if not os.environ.get("CIFARZOO_DATA"):
        pytest.skip("CIFARZOO_DATA is not set")
    found = evaluate_named(entry.tag)
    assert found["error"] == pytest.approx(entry.metrics["error"], abs=0.011)
    assert found["nll"] == pytest.approx(entry.metrics["nll"], rel=1e-3)
