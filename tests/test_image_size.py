"""Networks for images of another size than CIFAR's: which exist, what they share, and which files fit."""

import logging

import numpy as np
import pytest
from model_cases import CASES, fill

from cifarzoo.errors import ExperimentError, ModelError, WeightsError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.model_graph import any_image_size
from cifarzoo.models.load import load
from cifarzoo.models.macs import macs
from cifarzoo.models.registry import build_described, create_model
from cifarzoo.pretrained.description import description_of, save_weights
from cifarzoo.pretrained.loading import initialize
from cifarzoo.training.build import build_model

SMALL = {"depth": 8}  # of cifar_resnet


def large_pixels(size=64):
    return np.random.default_rng(3).integers(0, 256, (2, size, size, 3)).astype("float32")


def resnet8(**options):
    model = create_model("cifar_resnet", **SMALL, **options)
    fill(model)
    return model


# The last of every family, but not those whose first layer whitens.
FAMILIES = {case.model: case for case in CASES if "airbench" not in case.model and "stem" not in case.arguments}


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[] if "resnet20" in n or "vgg" in n else [pytest.mark.slow]) for n, c in FAMILIES.items()],
    ids=str,
)
def test_layers_and_weights_do_not_depend_on_the_size(case):
    small, large = case.build(), case.build(image_size=64)
    assert [(w.path, w.shape) for w in small.weights] == [(w.path, w.shape) for w in large.weights]
    assert large.input_shape == (None, 64, 64, 3) and large.output_shape == (None, 10)
    fill(small)
    fill(large)
    with any_image_size(small):
        np.testing.assert_allclose(large(large_pixels()), small(large_pixels()), rtol=1e-5)
    with pytest.raises(ValueError, match=r"expected shape|incompatible"):
        large(large_pixels(32))


def test_arithmetic_grows_with_the_area():
    head = 640  # the classifier's
    assert macs(resnet8(image_size=64)) - head == 4 * (macs(resnet8()) - head)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cifar_resnet20", {"image_size": 0}, "cifar_resnet20: image_size is a whole number from 1 to 1024, got 0"),
        ("cifar_resnet20", {"image_size": 2048}, "image_size is a whole number from 1 to 1024, got 2048"),
        ("cifar_resnet20", {"image_size": 64.0}, "image_size is a whole number from 1 to 1024, got 64.0"),
        ("cifar_resnet20", {"image_size": True}, "image_size is a whole number from 1 to 1024, got True"),
        ("cifar_resnet20", {"image_size": (64, 64)}, r"a whole number from 1 to 1024, got \(64, 64\)"),
        ("cifar_resnet20", {"img_size": 64}, "img_size is called image_size here: height and width in one number"),
        ("cifar_vgg11", {"image_size": 31}, "cifar_vgg11: image_size is at least 32 here, .* halved 5 times, got 31"),
        ("cifar_resnet9", {"image_size": 7}, "cifar_resnet9: image_size is at least 8 here, .* halved 3 times, got 7"),
        ("cifar_resnet9", {"stem": "whitening", "image_size": 64}, "image_size is 32 here, as the first layer whitens"),
        ("cifar_airbench94", {"image_size": 64}, "cifar_airbench94: image_size is 32 here, .*CIFAR's images, got 64"),
        ("cifar_pyramidnet110_a48", {"image_size": 42}, "image_size is a multiple of 4 here, .* one half is 21"),
        ("cifar_pyramid_skipnet272_a200", {"image_size": 42}, "image_size is a multiple of 4 here, .* one half is 21"),
        (
            "cifar_resnet20",
            {"image_size": 64, "statistics": "lasagne"},
            "has a mean for every pixel of 32x32",
        ),
    ],
)
def test_sizes_that_a_network_does_not_take(name, arguments, message):
    with pytest.raises(ModelError, match=message):
        create_model(name, **arguments)


def test_odd_sizes():
    for name, arguments in (("cifar_resnet", {"depth": 8}), ("cifar_wide_resnet", {"depth": 10, "width": 1})):
        for padding in ("symmetric", "same"):
            model = create_model(name, **arguments, strided_padding=padding, image_size=37)
            assert model.output_shape == (None, 10)


# ------------------------------------------------------------------------------------- files


def test_files_record_the_size(tmp_path):
    model = resnet8(image_size=64)
    assert description_of(model).arguments["image_size"] == 64 == description_of(model).image_size
    assert str(description_of(model)).endswith("image_size=64, classes=10)")
    save_weights(model, tmp_path / "large.weights.h5")
    loaded = load(tmp_path / "large.weights.h5")
    np.testing.assert_array_equal(loaded(large_pixels()), model(large_pixels()))
    completed = create_model("cifar_resnet", load_weights=tmp_path / "large.weights.h5")
    assert completed.input_shape == (None, 64, 64, 3)
    assert "image_size" not in description_of(resnet8()).arguments
    assert description_of(create_model("cifar_resnet20", image_size=32)) == description_of(
        create_model("cifar_resnet20")
    )


def test_files_of_another_size_do_not_fit(tmp_path):
    path = tmp_path / "small.weights.h5"
    save_weights(resnet8(), path)
    with pytest.raises(WeightsError, match=r"contains cifar_resnet\(.*\), not cifar_resnet\(.*image_size=64, classes"):
        create_model("cifar_resnet", **SMALL, image_size=64, load_weights=path)
    with pytest.raises(WeightsError, match=r"image_size=64, classes=10\): no published weights"):
        create_model("cifar_resnet20", image_size=64, load_weights=True)
    resnet8().save(tmp_path / "small.keras")
    with pytest.raises(WeightsError, match=r"for images \[32, 32\]; cifar_resnet takes \[64, 64\]"):
        create_model("cifar_resnet", **SMALL, image_size=64, load_weights=tmp_path / "small.keras")


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_training_starts_from_weights_of_any_size(tmp_path, ending, caplog):
    path, source = tmp_path / f"small{ending}", resnet8()
    save_weights(source, path) if ending == ".weights.h5" else source.save(path)
    model = create_model("cifar_resnet", **SMALL, image_size=64)
    with caplog.at_level(logging.WARNING, "cifarzoo"):
        initialize(model, path, build_described)
    warned = "images of height and width 64; the weights were trained with 32" in caplog.text
    assert warned == (ending == ".weights.h5")
    for weight, expected in zip(model.weights, source.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    other = create_model("cifar_resnet", depth=14, image_size=64)
    with pytest.raises(WeightsError, match=r"contains|does not fit"):
        initialize(other, path, build_described)


def test_an_experiment_does_not_set_the_size():
    experiment = Experiment(model="cifar_resnet20", model_parameters={"image_size": 64}, dataset="synthetic")
    with pytest.raises(ExperimentError, match=r"model_parameters.image_size: the runner sets it"):
        build_model(experiment, 10, 0)
