"""Whole pipelines give the same batch on every backend, compiled or not, and however the batch is split."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import augment_batches
import numpy as np
import pytest
from keras import backend, ops

from cifarzoo.augment.entries import specs_of
from cifarzoo.augment.pipeline import Pipeline, build
from cifarzoo.augment.random import Draws
from cifarzoo.augment.spec import PIPELINES, SPECS


@pytest.fixture(scope="module")
def here():
    return augment_batches.everything()


def on_jax(path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    root = Path(__file__).parent.parent
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    command = [sys.executable, str(Path(__file__).parent / "augment_batches.py"), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(path))


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    return on_jax(tmp_path_factory.mktemp("jax") / "batches.npz")


@pytest.mark.parametrize("name", augment_batches.DESCRIPTIONS)
@pytest.mark.slow
def test_tensorflow_and_jax_make_the_same_batch(here, there, name):
    for part in ("images", "labels"):
        mine, theirs = here[f"{name}_{part}"], there[f"{name}_{part}"]
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        if mine.dtype.kind == "f":
            np.testing.assert_allclose(mine, theirs, atol=1e-3 if name == "jitter" else 1e-4, rtol=0)
        else:
            np.testing.assert_array_equal(mine, theirs)
    assert here[f"{name}_images"].dtype == ("float32" if name in augment_batches.FLOATING else "uint8")


@pytest.mark.parametrize("name", ["policies", "randaugment"])
@pytest.mark.slow
def test_accelerators_make_the_same_batch(here, monkeypatch, name):
    """They give all images to each kernel; processors give it only the images that need it."""
    monkeypatch.setattr("cifarzoo.augment.kernels.accelerator_name", lambda: "a GPU")
    augment_batches.compiled.cache_clear()
    try:
        images, _ = augment_batches.augment(name, 41)
    finally:
        augment_batches.compiled.cache_clear()
    np.testing.assert_array_equal(images, here[f"{name}_images"])


@pytest.mark.parametrize("name", ["standard", "policies", "randaugment", "mixup", "cutmix"])
@pytest.mark.slow
def test_a_step_repeats_and_another_step_differs(here, name):
    again = augment_batches.augment(name, 41)
    for part, result in zip(("images", "labels"), again, strict=True):
        np.testing.assert_array_equal(result, here[f"{name}_{part}"])
    other, _ = augment_batches.augment(name, 42)
    assert (other != here[f"{name}_images"]).mean() > 0.3


@pytest.mark.parametrize("name", ["cutout", "policies", "randaugment", "jitter"])
@pytest.mark.slow
def test_half_a_batch_is_augmented_as_in_the_whole_batch(here, name):
    half, _ = augment_batches.augment(name, 41, range(48, 96))
    np.testing.assert_allclose(half, here[f"{name}_images"][48:], atol=0 if name != "jitter" else 1e-4)


@pytest.mark.parametrize("name", ["policies", "cutmix"])
def test_compiled_and_not_compiled_are_equal(here, name):
    pipeline = build(augment_batches.DESCRIPTIONS[name])
    images, labels = augment_batches.batch()
    places = np.arange(len(images), dtype="int32")
    draws = Draws(augment_batches.SEED, 41, places, epoch=20, image_id=places * 7)
    for part, result in zip(("images", "labels"), pipeline.run(images, labels, draws), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(result), here[f"{name}_{part}"])


@pytest.mark.slow
def test_the_pipeline_can_be_part_of_a_larger_xla_program(here):
    if backend.backend() != "tensorflow":
        pytest.skip("this is about TensorFlow's compiler")
    import tensorflow as tf

    pipeline = build(augment_batches.DESCRIPTIONS["policies"])
    images, labels = augment_batches.batch()

    @tf.function(jit_compile=True, autograph=False)
    def run(images, labels, step, index):
        images, labels = pipeline(images, labels, Draws(augment_batches.SEED, step, index))
        return images, labels, tf.reduce_sum(tf.cast(images, tf.float32))

    result, _, total = run(images, labels, tf.constant(41), tf.range(len(images)))
    np.testing.assert_array_equal(result.numpy(), here["policies_images"])
    assert total.numpy() == pytest.approx(here["policies_images"].sum(dtype="float64"), rel=1e-5)


@pytest.mark.slow
def test_a_batch_of_one_image_works(here):
    alone, _ = augment_batches.augment("policies", 41, [95])
    np.testing.assert_array_equal(alone[0], here["policies_images"][95])


def test_every_name_builds_and_keeps_shape_and_type(here):
    assert set(PIPELINES) == {
        *("none", "standard", "cutout", "mixup", "cutmix", "autoaugment", "randaugment", "trivialaugment"),
    }
    images, labels = augment_batches.batch()
    np.testing.assert_array_equal(here["none_images"], images)
    np.testing.assert_array_equal(here["none_labels"], labels)
    for name in PIPELINES:
        build(name)
        assert here[f"{name}_images"].shape == images.shape
        assert here[f"{name}_labels"].shape == ((96, 10) if name in ("mixup", "cutmix") else (96,))


def test_number_of_classes_and_mean_color_come_from_the_data_set():
    pipeline = build(["cutout", "mixup", "autoaugment"], classes=100, fill=(129, 124, 112))
    cutout, _, autoaugment = pipeline.specs
    assert pipeline.dataset.color(cutout.fill) == pipeline.dataset.color(autoaugment.fill) == (129, 124, 112)
    images, labels = augment_batches.batch()
    assert pipeline(images, labels, Draws(0, 0, np.arange(len(images), dtype="int32")))[1].shape == (len(images), 100)


@pytest.mark.parametrize("name", SPECS)
def test_every_kernel_draws_what_its_spec_declares(name, monkeypatch):
    drawn = {"uniform": 0, "shared": 0}

    def recording(method, kind):
        def record(draws, count):
            drawn[kind] += count
            return method(draws, count)

        return record

    for kind in drawn:
        monkeypatch.setattr(Draws, kind, recording(getattr(Draws, kind), kind))
    spec = SPECS[name](**({"policies": [[["Invert", 1, 0], ["Color", 1, 0]]]} if name == "policies" else {}))
    images, labels = augment_batches.batch(8)
    Pipeline([spec]).run(images, labels, Draws(0, 0, np.arange(8, dtype="int32")))
    assert drawn == {"uniform": spec.draws_per_image, "shared": spec.draws_per_batch}


def test_specs_of_python_and_of_yaml_are_the_same():
    document = ["crop", {"cutout": {"size": 8}}, {"policies": {"policies": [[["Invert", 1, 0], ["Color", 1, 0]]]}}]
    specs = specs_of(document)
    assert [spec.as_entry() for spec in specs] == document
    in_python = [type(spec)(**spec.model_dump(exclude_unset=True)) for spec in specs]
    assert specs_of(in_python) == tuple(in_python)
    read_again = specs_of([spec.as_entry() for spec in in_python])
    assert [spec.model_dump() for spec in read_again] == [spec.model_dump() for spec in specs]
