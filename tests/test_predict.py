"""`cifarzoo.predict` and the command: classes, probabilities, names of classes, warnings."""

import json
import logging
from pathlib import Path

import keras
import numpy as np
import pytest
from picture_folders import fill, pixels, save
from PIL import Image
from scipy.special import softmax

import cifarzoo
from cifarzoo.data import Dataset
from cifarzoo.data.own_data import source_from
from cifarzoo.errors import DataError, ExperimentError, ModelError
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.description import save_weights
from cifarzoo.training.run_files import describe


@pytest.fixture(scope="module")
def model():
    """A network with three classes, one for each channel that may be the brightest."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 32)(inputs))
    return keras.Model(inputs, x, name="brightest")


def test_probabilities_are_the_softmax_of_the_logits(model):
    images = np.stack([pixels(label, number, 8, 8) for number in range(2) for label in range(3)])
    predictions = cifarzoo.predict(images, model, class_names=("red", "green", "blue"), top=2)
    np.testing.assert_allclose(
        predictions.probabilities, softmax(images.mean((1, 2)) / 32, axis=1), rtol=1e-5, atol=1e-7
    )
    assert [prediction.label for prediction in predictions] == ["red", "green", "blue"] * 2
    first = predictions[0]
    assert first.top[0][0] == "red" and len(first.top) == 2
    assert first.probability == predictions.probabilities[0].max() == first.top[0][1]
    assert repr(first).startswith("<image 0: red ") and "image 5" in repr(predictions)
    table = predictions._repr_html_()
    assert table.count("<tr>") == table.count("<img") == 6 and "green" in table and len(predictions[2:]) == 4


def test_the_folder_of_a_picture_may_be_its_true_class(tmp_path, model, monkeypatch):
    fill(tmp_path, counts=1, classes=("Red_Fox", "owl"))
    save(tmp_path / "loose.png", pixels(0, 0))
    drawn = []
    monkeypatch.setattr("cifarzoo.inference.predictions.draw_sheet", lambda tiles, *_: drawn.extend(tiles))
    cifarzoo.predict([tmp_path, pixels(0, 1)], model, class_names=("red fox", "green", "blue")).contact_sheet()
    assert {Path(tile.name).name if "owl" not in tile.name else "owl": tile.true_class for tile in drawn} == {
        "000.png": "red fox", "owl": "", "loose.png": "", "image 0": ""
    }  # fmt: skip


def test_a_single_picture_of_another_size_needs_no_batch_axis_and_many_come_in_chunks(model):
    large = pixels(1, 0, 100, 50)
    (prediction,) = cifarzoo.predict(large, model, class_names="rgb")
    assert prediction.label == "g"
    images = np.stack([pixels(k % 3, k, 8, 8) for k in range(7)])
    whole = cifarzoo.predict(images, model, class_names="rgb")
    parts = cifarzoo.predict(images, model, class_names="rgb", batch_size=3)
    np.testing.assert_allclose(parts.probabilities, whole.probabilities, atol=1e-6)


def test_outputs_that_are_probabilities_stay_as_they_are(model):
    ending = keras.Model(model.input, keras.layers.Softmax()(model.output))
    images = np.stack([pixels(k, 0, 8, 8) for k in range(3)])
    np.testing.assert_allclose(
        cifarzoo.predict(images, ending, class_names="rgb").probabilities,
        cifarzoo.predict(images, model, class_names="rgb").probabilities,
        atol=1e-6,
    )


def test_images_that_were_scaled_are_a_warning(model, caplog):
    scaled = np.stack([pixels(0, 0, 8, 8)] * 2) / 255
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        cifarzoo.predict(scaled, model, class_names="rgb", batch_size=1)
    # TensorFlow may warn that the tests before have compiled many models.
    assert [record.getMessage()[:60] for record in caplog.records if record.name == "cifarzoo"] == [
        f"images with values from {scaled.min():.3g} to {scaled.max():.3g} look as if they were divided by 255"[:60]
    ]
    caplog.clear()
    cifarzoo.predict(pixels(0, 0, 8, 8) // 200, model, class_names="rgb")  # a dark picture, but uint8
    assert not [record for record in caplog.records if record.name == "cifarzoo"]


def test_a_network_that_normalizes_nothing_is_told_apart(caplog):
    network = cifarzoo.cifar_resnet8(include_preprocessing=False)
    cifarzoo.predict(pixels(0, 0, 32, 32), network)
    assert "takes normalized pixels (include_preprocessing=False), got pixels from" in caplog.text
    caplog.clear()
    cifarzoo.predict(np.random.default_rng(0).normal(size=(32, 32, 3)), network)
    assert "pixels" not in caplog.text


def test_pictures_are_resized_as_those_that_a_run_was_trained_on(model):
    own = source_from({"folder": "photos", "size": 8, "fit": "squash", "filter": "box"})
    network = LoadedModel(model, "photos", "run", own_data=own)
    picture = np.random.default_rng(0).integers(0, 256, (16, 40, 3), dtype=np.uint8)
    found = cifarzoo.predict(picture, network, class_names="rgb")
    expected = np.asarray(Image.fromarray(picture).resize((8, 8), Image.Resampling.BOX))
    np.testing.assert_array_equal(
        found.probabilities, cifarzoo.predict(expected, model, class_names="rgb").probabilities
    )
    other = cifarzoo.predict(picture, network, class_names="rgb", fit="crop", filter="bicubic")
    assert (other.resizing.fit, other.resizing.filter_name) == ("crop", "bicubic")


def test_names_of_classes_come_from_the_weights_or_the_data_set(tmp_path, caplog):
    names = ("cat", "dog", "owl")
    arrays = np.stack([pixels(k % 3, k, 8, 8) for k in range(6)]), np.arange(6) % 3
    dataset = Dataset.from_arrays("pets", arrays, arrays, names)
    network = cifarzoo.cifar_resnet8(classes=3, image_size=8)
    experiment = Experiment(model="cifar_resnet8", dataset={"arrays": "pets.npz"})
    save_weights(network, tmp_path / "pets.weights.h5", describe(experiment, network, dataset.class_names))
    for model in (str(tmp_path / "pets.weights.h5"), cifarzoo.load(tmp_path / "pets.weights.h5")):
        assert set(dict(cifarzoo.predict(arrays[0], model)[0].top)) == set(names)
    assert not [record for record in caplog.records if record.name == "cifarzoo"]
    # A built-in data set has the names already.
    built_in = Experiment(model="cifar_resnet8", dataset="synthetic")
    assert describe(built_in, network, cifarzoo.load_data("synthetic").class_names).class_names is None
    # Without a description there are numbers, or a guess; both are said.
    network.save(tmp_path / "pets.keras")
    assert set(dict(cifarzoo.predict(arrays[0], tmp_path / "pets.keras")[0].top)) == {"0", "1", "2"}
    assert "pets.keras: does not say what its classes are; they are numbered" in caplog.text
    inputs = keras.Input((8, 8, 3))
    ten = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)), name="ten")
    assert cifarzoo.predict(arrays[0], ten, top=10)[0].top[-1][0] in cifarzoo.data.classes.CIFAR10_CLASSES
    assert "ten: does not say what its classes are; those of cifar10 are assumed" in caplog.text


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fit": "stretch"}, ExperimentError, "fit: expected crop, squash, got 'stretch'"),
        ({"filter": "magic"}, ExperimentError, "filter: expected nearest, .*, got 'magic'"),
        ({"top": 0}, ExperimentError, "top: expected at least 1, got 0"),
        ({"class_names": ["a"]}, ModelError, "brightest: has 3 outputs, got 1 names of classes"),
        ({"model": 5}, ModelError, "model: expected a name, a path or a Keras model, got int"),
        ({"model": "cifar_resnet21"}, ModelError, "cifar_resnet21"),
        ({"images": "nowhere"}, DataError, "nowhere: no such file or folder"),
    ],
)
def test_mistakes_are_one_line(model, change, error, message):
    arguments = {"images": pixels(0, 0), "model": model} | change
    with pytest.raises(error, match=message) as caught:
        cifarzoo.predict(**arguments)
    assert "\n" not in str(caught.value)


def test_networks_without_square_pictures_or_finite_outputs_are_refused(model):
    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ModelError, match=r"takes \(None, 4\); expected square pictures with three channels"):
        cifarzoo.predict(pixels(0, 0), flat)
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ModelError, match="expected one number per class"):
        cifarzoo.predict(pixels(0, 0), keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs)))
    overflow = keras.Model(inputs, keras.layers.Rescaling(float("inf"))(model(inputs)))
    with pytest.raises(DataError, match="its outputs are not finite"):
        cifarzoo.predict(pixels(0, 0), overflow, class_names="rgb")


def command(capsys, monkeypatch, *arguments):
    """Run the command in this process; return its status, stdout and stderr."""
    from cifarzoo.cli import main

    monkeypatch.setattr("sys.argv", ["cifarzoo", "predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return (stopped.value.code, *capsys.readouterr())


def test_the_command_prints_every_format_and_names_what_it_could_not_read(tmp_path, capsys, monkeypatch, model):
    fill(tmp_path / "photos", counts=1, classes=("red", "green", "blue"))
    model.save(tmp_path / "brightest.keras")
    command_line = (tmp_path / "photos", "--model", tmp_path / "brightest.keras", "--format")
    status, out, _ = command(capsys, monkeypatch, *command_line, "json")
    document = json.loads(out)
    assert status == 0 and document["model"] == str(tmp_path / "brightest.keras")
    assert document["resized"] == {"fit": "crop", "filter": "bicubic"}
    assert {entry["image"].split("/")[-2]: entry["top"][0]["class"] for entry in document["images"]} == {
        "red": "0", "green": "1", "blue": "2"
    }  # fmt: skip
    assert sum(answer["probability"] for answer in document["images"][0]["top"]) == pytest.approx(1, abs=1e-5)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("rosso\nverde\nblù\n", encoding="utf-8")
    for names in ("rosso, verde,blù", "names.txt"):
        _, out, err = command(capsys, monkeypatch, *command_line, "tsv", "--class-names", names)
        first = [line.split("\t")[1] for line in out.splitlines()[1:]]
        assert first == ["blù", "verde", "rosso"] and not err  # blue, green and red, in the order of the folders
    for wrong, message in (
        (["--dark"], "--dark: is for the picture of --sheet or --explain"),
        (["--sheet", "a.jpg"], "--sheet a.jpg: the name of a contact sheet ends in .png"),
        (["--sheet", "new/a.png"], "--sheet new/a.png: there is no folder new"),
        (["--class-names", "nowhere.txt"], "has 3 outputs, got 1 names of classes"),
    ):
        status, _, err = command(capsys, monkeypatch, *command_line, "tsv", *wrong)
        assert status == 1 and message in err
    (tmp_path / "new").mkdir()
    status, _, err = command(capsys, monkeypatch, *command_line, "tsv", "--sheet", "new/sheet.png")
    assert status == 0 and err == "new/sheet.png\n" and (tmp_path / "new" / "sheet.png").stat().st_size > 1000
    (tmp_path / "photos" / "damaged.jpg").write_bytes(b"")
    status, out, err = command(capsys, monkeypatch, *command_line, "csv", "--top", 2)
    lines = out.splitlines()
    assert status == 1 and lines[0] == "image,class1,probability1,class2,probability2" and len(lines) == 4
    assert "damaged.jpg: not a picture that opens (is empty)" in err
    assert "cifarzoo: error: 1 of 4 pictures could not be read" in err


@pytest.mark.data
def test_the_default_network_names_real_images(tmp_path):
    data = cifarzoo.load_data("cifar10")
    for number in range(20):
        save(tmp_path / f"{number:02}.png", data.test.images[number])
    predictions = cifarzoo.predict(tmp_path)
    right = [data.class_names[label] for label in data.test.labels[:20]]
    assert sum(prediction.label == name for prediction, name in zip(predictions, right, strict=True)) >= 17
