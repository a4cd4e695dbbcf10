"""Exported files run without cifarzoo, compute what their model computes, and say what they are."""

import json
import os
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_models
from model_cases import ROOT, assert_close, fill, pixels, run_python

import cifarzoo
from cifarzoo.data.classes import CIFAR10_CLASSES
from cifarzoo.errors import DataError, ExportError, ModelError
from cifarzoo.evaluation.load_model import of_model
from cifarzoo.exporting.formats import FORMATS, Format
from cifarzoo.exporting.images import images_for
from cifarzoo.pretrained.description import attach_description, description_of, save_weights

PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
# Heading in the page -> `--to` and the file that its code opens.
SNIPPETS = {
    "SavedModel": ("savedmodel", "resnet20"),
    "ONNX": ("onnx", "resnet20.onnx"),
    "LiteRT": ("litert", "resnet20.tflite"),
    "OpenVINO": ("openvino", "resnet20.xml"),
}


@pytest.fixture(scope="module")
def model():
    model = tiny_models.tiny_resnet()
    fill(model)
    return model


def snippet(heading):
    """Return the code of a section of docs/export.md."""
    return re.search(rf"### {heading}\n.*?```python\n(.*?)```", PAGE, re.DOTALL).group(1)


@pytest.mark.parametrize("heading", SNIPPETS)
@pytest.mark.parametrize("count", [1, 3])
def test_the_code_of_the_page_opens_the_file(model, exported, heading, count, monkeypatch):
    monkeypatch.chdir(exported.folder)
    images = pixels(count)
    names = {"images": images}
    exec(snippet(heading), names)
    assert_close(names["logits"], model(images.astype("float32")))
    assert names["labels"][:2] == ["airplane", "automobile"] and len(names["labels"]) == 10


class Exported:
    """The files of one model in all formats of TensorFlow, and what `export` returned."""

    def __init__(self, folder, rows):
        self.folder, self.rows = folder, rows


@pytest.fixture(scope="module")
def images_file(tmp_path_factory):
    """A few images of random pixels, on which all comparisons are quick."""
    path, labels = tmp_path_factory.mktemp("images") / "random.npz", np.arange(40) % 10
    np.savez(path, x_train=pixels(40), y_train=labels, x_test=pixels(40), y_test=labels)
    return str(path)


@pytest.fixture(scope="module")
def exported(model, images_file, tmp_path_factory):
    for package in ("tf2onnx", "onnxruntime", "ai_edge_litert", "openvino"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("exported")
    files = [*SNIPPETS.values(), ("litert-int8", "int8.tflite")]
    rows = {
        to: cifarzoo.export(model, to, folder / name, dataset=images_file, class_names=CIFAR10_CLASSES)
        for to, name in files
    }
    return Exported(folder, rows)


def test_nothing_else_is_left(exported):
    expected = {name for _, name in SNIPPETS.values()} | {"resnet20.bin", "int8.tflite"}
    assert {path.name for path in exported.folder.iterdir()} == expected


def test_what_is_reported(exported):
    row = exported.rows["onnx"]
    assert row["bytes"] == (exported.folder / "resnet20.onnx").stat().st_size
    assert (row["dataset"], row["replaces"], row["images"], row["same_class"]) == ("random", "", 40, 40)
    assert 0 < row["largest_difference"] < 1e-4 * row["largest_output"]
    openvino = [exported.folder / name for name in ("resnet20.xml", "resnet20.bin")]
    assert exported.rows["openvino"]["bytes"] == sum(path.stat().st_size for path in openvino)


def test_int8_is_calibrated_on_raw_pixels(model, exported):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(exported.folder / "int8.tflite"))
    kinds = [tensor["dtype"] for tensor in interpreter.get_tensor_details()]
    assert kinds.count(np.int8) > 20
    # The first step turns pixels into int8: a step of the scale is one of the 255 steps of a pixel.
    scales = [tensor["quantization"][0] for tensor in interpreter.get_tensor_details() if tensor["dtype"] == np.int8]
    assert any(0.95 < scale < 1.05 for scale in scales)
    sizes = [(exported.folder / name).stat().st_size for name in ("int8.tflite", "resnet20.tflite")]
    assert sizes[0] < 0.45 * sizes[1]
    row = exported.rows["litert-int8"]
    assert row["same_class"] > 30
    assert {"error", "error_before"} <= row.keys()  # on images that were named


def test_any_number_of_images(exported):
    import onnx

    network = onnx.load(exported.folder / "resnet20.onnx")
    axes = [value.type.tensor_type.shape.dim[0].dim_param for value in (*network.graph.input, *network.graph.output)]
    assert axes == ["batch", "batch"]


def test_layers_that_tf2onnx_cannot_translate(images_file, tmp_path):
    """Keras' Normalization, "gelu" and grouped convolutions, in a model that has nothing of ours."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    layers = keras.layers
    inner = keras.Sequential([keras.Input((16, 16, 8)), layers.Conv2D(8, 3, groups=4, activation="gelu")])
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3), name="pixels"),
            layers.Normalization(mean=[120.0, 110, 100], variance=[60.0**2, 61**2, 62**2]),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="gelu"),
            inner,
            layers.Activation("gelu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    fill(model)
    row = cifarzoo.export(model, "onnx", tmp_path / "net.onnx", dataset=images_file)
    assert row["same_class"] == 40
    assert not {"dataset", "class_names", "weights_sha256"} & row["metadata"].keys()  # nobody knows them
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [one.name for one in session.get_inputs()] == ["pixels"]
    (logits,) = session.run(None, {"pixels": pixels().astype("float32")})
    assert_close(logits, model(pixels().astype("float32")))


class Noise(keras.layers.Layer):
    """Adds other numbers in every call."""

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs))


def test_a_file_that_computes_something_else_is_not_kept(images_file, tmp_path):
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, Noise()(keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(inputs))))
    (tmp_path / "net").mkdir()
    with pytest.raises(ExportError, match=r"outputs differ from the model's by up to \d.*of 40 images"):
        cifarzoo.export(model, "savedmodel", tmp_path / "net", dataset=images_file)
    assert [path.name for path in tmp_path.rglob("*")] == ["net"]


def test_metadata_of_a_weight_file(tmp_path, monkeypatch):
    """Without CIFAR on the machine, the embedded images stand in."""
    import hashlib

    monkeypatch.setenv("CIFARZOO_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "nothing"))
    path = tmp_path / "net.weights.h5"
    network = cifarzoo.create_model("cifar_resnet", depth=8, classes=100)
    fill(network)
    save_weights(network, path, replace(description_of(network), dataset="cifar100"))
    monkeypatch.chdir(tmp_path)
    row = cifarzoo.export(path, "litert")
    assert (row["path"], row["dataset"], row["replaces"]) == ("net.tflite", "synthetic", "cifar100")
    assert "error" not in row
    with zipfile.ZipFile("net.tflite") as archive:
        facts = json.loads(archive.read("cifarzoo.json"))
    assert facts["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["class_names"][:3] == ["apple", "aquarium_fish", "baby"]
    assert facts["model"].startswith("cifar_resnet(depth=8")
    with pytest.raises(ExportError, match=r"^net.tflite: exists; name the file to write"):
        cifarzoo.export(path, "litert")
    with pytest.raises(ExportError, match=r"int8 takes its ranges from training images of cifar100, which is not on"):
        cifarzoo.export(path, "litert-int8", "int8.tflite")
    assert not Path("int8.tflite").exists()


def test_an_error_is_measured_only_if_the_labels_are_the_networks(model, images_file):
    """A network with ten outputs may be for other images than CIFAR-10's; then the user has to say so."""
    assert of_model(model).is_guess
    assert images_for(of_model(model), "synthetic").labels is not None
    assert images_for(of_model(model), images_file).labels is not None
    named = cifarzoo.create_model("cifar_resnet8")
    attach_description(named, replace(description_of(named), dataset="cifar10"))
    assert not of_model(named).is_guess
    assert images_for(of_model(named), "synthetic").labels is None


def test_images_that_do_not_fit(images_file):
    large = cifarzoo.create_model("cifar_resnet8", image_size=48)
    with pytest.raises(DataError, match=r"takes \(None, 48, 48, 3\), images are \(None, 32, 32, 3\)$"):
        images_for(of_model(large), images_file)
    hundred = cifarzoo.create_model("cifar_resnet8", image_size=48, classes=100)
    with pytest.raises(DataError, match=r"takes images of 48 x 48 pixels, those of random have 32 x 32$"):
        images_for(of_model(hundred), images_file)


def test_the_log_of_a_failed_conversion_is_dropped(tmp_path, capfd):
    """What native code logs before the line for people, and what Python raises, stays out of the terminal."""
    pytest.importorskip("ai_edge_litert")
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(Logs()(inputs)))
    with pytest.raises(ExportError, match=r"cannot be written in this format \(.*no such operation"):
        cifarzoo.export(keras.Model(inputs, outputs), "litert", tmp_path / "net.tflite", dataset="synthetic")
    assert capfd.readouterr().err == ""


class Logs(keras.layers.Layer):
    """Logs as TensorFlow does and fails, once it is converted."""

    def call(self, inputs):
        if self.built_once:
            os.write(2, b"E0000 00:00:1700000000.000000    1234 somewhere.cc:12] error: failed\n")
            raise ValueError("no such operation")
        self.built_once = True
        return inputs

    built_once = False


@pytest.mark.parametrize(
    ("to", "out", "message"),
    [
        ("coreml", None, "^--to coreml: expected one of savedmodel, onnx, litert, litert-int8, openvino, torch$"),
        ("onnx", "net.pb", "^net.pb: the name of a file for --to onnx ends in .onnx$"),
        ("onnx", "no/net.onnx", "^no.net.onnx: there is no folder no$"),
        ("savedmodel", "full", "^full: exists and is not a SavedModel; name another folder$"),
        ("openvino", "full.xml", "^full.xml: is a folder; name a file that ends in .xml$"),
    ],
)
def test_refused_before_anything_is_loaded(to, out, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("full.xml").mkdir()
    Path("full").mkdir()
    Path("full", "mine.txt").touch()
    with pytest.raises(ExportError, match=message):
        cifarzoo.export("no_such_model", to, out)
    assert Path("full", "mine.txt").exists()


def test_models_that_do_not_fit(model, tmp_path):
    with pytest.raises(ExportError, match=r"expected one input of images"):
        cifarzoo.export(keras.Sequential([keras.Input((7,)), keras.layers.Dense(2)]), "litert", tmp_path / "a.tflite")
    plain = cifarzoo.create_model("cifar_resnet8", include_preprocessing=False)
    with pytest.raises(ExportError, match=r"takes normalized images, but int8 is calibrated on raw pixels"):
        cifarzoo.export(plain, "litert-int8", tmp_path / "a.tflite")
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3, dtype="mixed_bfloat16"), keras.layers.Flatten()]
    with pytest.raises(ExportError, match=r"computes in bfloat16; export the model in float32$"):
        cifarzoo.export(keras.Sequential([*layers, keras.layers.Dense(10)]), "litert", tmp_path / "a.tflite")


class Subclassed(keras.Model):
    """Has no graph that could be written."""

    def call(self, inputs):
        return inputs


def test_subclassed_models_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"is a subclassed or unbuilt model; expected a functional"):
        cifarzoo.export(Subclassed(), "litert", tmp_path / "a.tflite")


def test_a_missing_package_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(FORMATS, "onnx", Format("onnx", ".onnx", "onnx_file", {"no_such": "no-such", "keras": "keras"}))
    with pytest.raises(ExportError, match=r"pip install no-such$"):
        cifarzoo.export("no_such_model", "onnx", "net.onnx")


@pytest.mark.data
@pytest.mark.slow
def test_int8_of_the_published_resnet20_is_within_a_point(tmp_path, monkeypatch):
    """The first code of the page, on CIFAR-10."""
    if not os.environ.get("CIFARZOO_DATA"):
        pytest.skip("CIFARZOO_DATA does not name a folder with CIFAR-10")
    pytest.importorskip("ai_edge_litert")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1), names)
    result = names["result"]
    assert (result["images"], result["dataset"]) == (10_000, "cifar10")
    assert result["error_before"] == pytest.approx(7.74, abs=0.02)
    assert result["error"] < result["error_before"] + 1
    assert result["bytes"] < 350_000


ON_JAX = """
import sys
import cifarzoo

row = cifarzoo.export(cifarzoo.create_model("cifar_resnet8"), sys.argv[1], sys.argv[2], dataset=sys.argv[3])
print(row["same_class"])
"""


@pytest.mark.parametrize(("to", "file"), [("litert", "net.tflite"), ("torch", "resnet20.pt2")])
@pytest.mark.slow
def test_formats_of_another_backend(to, file, images_file, tmp_path, monkeypatch):
    """JAX, on which Keras writes neither LiteRT nor PyTorch programs."""
    pytest.importorskip("jax")
    pytest.importorskip("torch" if to == "torch" else "ai_edge_litert")
    assert run_python(ON_JAX, to, str(tmp_path / file), images_file, backend="jax").split()[-1] == "40"
    if to == "torch":
        monkeypatch.chdir(tmp_path)
        names = {"images": pixels(3)}
        exec(snippet("PyTorch"), names)
        assert names["logits"].shape == (3, 10)


def test_layers_that_another_process_cannot_know(images_file, tmp_path):
    pytest.importorskip("torch")
    model = keras.Sequential([keras.Input((32, 32, 3)), Noise(), keras.layers.Flatten(), keras.layers.Dense(10)])
    with pytest.raises(ExportError, match=r"another process does not know Noise: set KERAS_BACKEND=torch"):
        cifarzoo.export(model, "torch", tmp_path / "net.pt2", dataset=images_file)
    assert not list(tmp_path.iterdir())
