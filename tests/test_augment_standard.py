"""Crop, flip, Cutout and color jitter."""

import colorsys

import numpy as np
import pytest
from keras import ops

from cifarzoo.augment.base import DatasetFacts
from cifarzoo.augment.pipeline import Pipeline
from cifarzoo.augment.random import Draws
from cifarzoo.augment.spec import ColorJitter, Crop, Cutout, Flip
from cifarzoo.errors import ExperimentError


def noise(count, height=32, width=32):
    return np.random.default_rng(3).integers(1, 256, (count, height, width, 3), dtype=np.uint8)


def run(spec, images, step=0, **more):
    draws = Draws(0, step, np.arange(len(images), dtype="int32"), **more)
    changed, labels = Pipeline([spec]).run(images, np.arange(len(images)), draws)
    np.testing.assert_array_equal(ops.convert_to_numpy(labels), np.arange(len(images)))
    return ops.convert_to_numpy(changed)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("zero", "constant"), ("reflect", "reflect")])
def test_a_crop_is_a_window_of_the_padded_image_at_a_uniform_position(mode, numpy_mode):
    images = noise(400, 8, 8)
    cropped = run(Crop(padding=2, mode=mode), images)
    assert cropped.dtype == np.uint8
    places = np.zeros((5, 5))
    for image, got in zip(images, cropped, strict=True):
        padded = np.pad(image, [(2, 2), (2, 2), (0, 0)], numpy_mode)
        windows = [(y, x) for y in range(5) for x in range(5) if (padded[y : y + 8, x : x + 8] == got).all()]
        assert len(windows) == 1
        places[windows[0]] += 1
    assert ((places - 16) ** 2 / 16).sum() < 52  # chi-squared, 24 degrees of freedom, 0.999


def test_a_flip_mirrors_images_with_its_probability():
    images = noise(1000, 4, 4)
    for probability in (0.0, 0.5, 0.9, 1.0):
        flipped = run(Flip(probability=probability), images)
        mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
        assert (mirrored | (flipped == images).all(axis=(1, 2, 3))).all()
        assert abs(mirrored.mean() - probability) < 4 * np.sqrt(0.25 / 1000) * (0 < probability < 1) + 1e-9


def test_the_alternating_flip_shows_each_image_both_ways_in_two_epochs():
    images = noise(1000, 4, 4)
    ids = np.arange(1000, dtype="int32") * 37
    mirrored = []
    for epoch in range(4):
        order = np.random.default_rng(epoch).permutation(1000)
        flipped = run(Flip(alternating=True), images[order], step=100 * epoch, epoch=epoch, image_id=ids[order])
        one = np.empty(1000, bool)
        one[order] = (flipped == images[order][:, :, ::-1]).all(axis=(1, 2, 3))
        mirrored.append(one)
    assert 400 < mirrored[0].sum() < 600
    np.testing.assert_array_equal(mirrored[0], ~mirrored[1])
    np.testing.assert_array_equal(mirrored[0], mirrored[2])
    np.testing.assert_array_equal(mirrored[1], mirrored[3])


def test_the_alternating_flip_needs_image_id():
    with pytest.raises(ExperimentError, match="image_id"):
        run(Flip(alternating=True), noise(4))


def test_cutout_fills_a_clipped_square_around_a_uniform_center():
    images = noise(2000, 16, 16)
    size, fill = 6, (9, 8, 7)
    cut = run(Cutout(size=size, fill=fill), np.where(images == fill, images + 1, images).astype("uint8"))
    areas = []
    for got in cut:
        filled = (got == fill).all(axis=-1)
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        assert filled.sum() == len(rows) * len(columns)
        assert len(rows) == np.ptp(rows) + 1 and 3 <= len(rows) <= size
        areas.append(filled.sum())
    # A side is 6, except 3, 4, 5 for centers 0, 1, 2 and 5, 4 for centers 14, 15 (of 16).
    side = (3 + 4 + 5 + 5 + 4 + 11 * 6) / 16
    assert np.mean(areas) == pytest.approx(side**2, rel=0.02)


def test_cutout_fills_with_the_mean_of_the_data_set():
    images = noise(50)

    def colors(spec, *facts):
        draws = Draws(0, 0, np.arange(len(images), dtype="int32"))
        changed, _ = Pipeline([spec], *facts).run(images, np.arange(len(images)), draws)
        changed = ops.convert_to_numpy(changed)
        return {tuple(pixel) for pixel in changed[(changed != images).any(-1)].tolist()}

    assert colors(Cutout()) == {(125, 123, 114)}
    cifar100 = DatasetFacts(100, (129, 124, 112))
    assert colors(Cutout(), cifar100) == {(129, 124, 112)}
    assert colors(Cutout(fill=(0, 0, 0)), cifar100) == {(0, 0, 0)}


def test_hue_turns_as_in_hsv():
    images = noise(6, 8, 8)
    images[0, 0, :3] = [[5, 5, 5], [255, 255, 255], [200, 200, 10]]
    jitter = ColorJitter(hue=0.4)
    turned = run(jitter, images)
    turns = (ops.convert_to_numpy(Draws(0, 0, np.arange(6, dtype="int32")).uniform(4))[:, 3] * 2 - 1) * 0.4
    for image, got, turn in zip(images, turned, turns, strict=True):
        for pixel, result in zip(image.reshape(-1, 3), got.reshape(-1, 3), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
            expected = np.array(colorsys.hsv_to_rgb((hue + float(turn)) % 1, saturation, value)) * 255
            np.testing.assert_allclose(result, expected, atol=2e-3)


def test_brightness_contrast_and_saturation_blend_with_black_the_mean_gray_and_gray():
    images = noise(64, 8, 8)
    x = images.astype("float64")
    u = ops.convert_to_numpy(Draws(0, 0, np.arange(64, dtype="int32")).uniform(4)).astype("float64")
    gray = x @ [0.299, 0.587, 0.114]
    cases = {
        "brightness": (u[:, 0], np.zeros_like(gray)),
        "contrast": (u[:, 1], np.broadcast_to(gray.mean(axis=(1, 2), keepdims=True), gray.shape)),
        "saturation": (u[:, 2], gray),
    }
    for name, (number, degenerate) in cases.items():
        got = run(ColorJitter(**{name: 0.7}), images)
        factor = (0.3 + number * 1.4)[:, None, None, None]
        expected = np.clip(degenerate[..., None] + factor * (x - degenerate[..., None]), 0, 255)
        np.testing.assert_allclose(got, expected, atol=1e-3)
        assert got.dtype == np.float32


def test_all_four_jitters_are_applied_in_order():
    changed = run(ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1), noise(64))
    assert changed.min() >= 0 and changed.max() <= 255.001 and np.isfinite(changed).all()
