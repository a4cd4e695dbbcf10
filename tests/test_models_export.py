"""Fresh models export to ONNX with one input and the same outputs, and take no image of another size."""

import json
import math

import keras
import numpy as np
import pytest
from model_cases import CASES, QUICK, assert_close, fill, pixels, run_python

from cifarzoo.layers import Gelu
from cifarzoo.models.registry import create_model


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case == CASES[0] or case.model == "cifar_airbench94" else [pytest.mark.slow])
        for case in CASES
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras' own, for tf2onnx
def test_onnx_runtime_computes_the_same(case, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = case.build()
    fill(model)
    path = tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    assert [(one.name, one.shape[1:]) for one in session.get_inputs()] == [("image", [32, 32, 3])]
    images = pixels().astype("float32")
    (logits,) = session.run(None, {"image": images})
    assert_close(logits, model(images))


def test_gelu():
    values = np.linspace(-6, 6, 101)
    expected = [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in values]
    np.testing.assert_allclose(Gelu(dtype="float64")(values), expected, rtol=0, atol=1e-15)


# ------------------------------------------------------------------------------------- images of other sizes


def traced_for_any_size(model):
    """Let `predict` see several sizes of batches, after which TensorFlow traces for images of any size."""
    model.predict(pixels(), verbose=0)
    model.predict(pixels()[:3], verbose=0)


@pytest.mark.parametrize("arguments", [{}, {"include_top": False}, {"include_preprocessing": False}], ids=str)
def test_a_photo_is_refused_after_other_calls(arguments):
    model = create_model("cifar_vgg11", **arguments)
    traced_for_any_size(model)
    for photo in (np.zeros((2, 256, 256, 3), "uint8"), np.zeros((1, 33, 32, 3), "uint8")):
        with pytest.raises(Exception, match="Input to reshape is a tensor|expected shape"):
            model.predict(photo, verbose=0)
    assert len(model.predict(pixels(), verbose=0)) == 4


def test_a_model_made_of_its_layers_refuses_it_too(tmp_path):
    """Also without this package, as the check is one of Keras' layers."""
    zoo = create_model("cifar_resnet20")
    zoo.save(tmp_path / "zoo.keras")
    output = keras.layers.GlobalAveragePooling2D()(zoo.get_layer("stage1_block1_relu2").output)
    for model in (keras.Model(zoo.input, output), keras.saving.load_model(tmp_path / "zoo.keras")):
        traced_for_any_size(model)
        with pytest.raises(Exception, match="Input to reshape is a tensor"):
            model.predict(np.zeros((2, 256, 256, 3), "uint8"), verbose=0)


@pytest.mark.parametrize("case", [case for case in CASES if case not in QUICK[1:]], ids=str)
def test_every_family_checks_size_and_channels(case):
    model = case.build(include_top=False, include_preprocessing=False)
    start = keras.Model(model.input, model.get_layer("stem_size").output)
    for shape, problem in ((2, 256, 256, 3), "total size"), ((2, 3, 32, 32), "axis -1"):
        with pytest.raises(Exception, match=problem):
            start.call(np.zeros(shape, "float32"))  # without the check of the input, as JAX calls it


ON_BACKEND = """
import json
import numpy as np
from cifarzoo.models.registry import create_model

model = create_model("cifar_vgg11")
for size in (4, 3):
    model.predict(np.zeros((size, 32, 32, 3), "uint8"), verbose=0)
try:
    model.predict(np.zeros((2, 256, 256, 3), "uint8"), verbose=0)
    print(json.dumps("nothing"))
except Exception as failure:
    print(json.dumps(str(failure)))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.slow
def test_on_other_backends(backend):
    pytest.importorskip(backend)
    message = json.loads(run_python(ON_BACKEND, backend=backend).splitlines()[-1])
    # Torch refuses the images themselves; JAX, which checks no input, the feature map of the first convolution.
    assert "256, 256" in message and "32, 32" in message
