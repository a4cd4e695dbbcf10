"""Compare the operations of policies with Pillow."""

import os

import numpy as np
import pytest
from keras import ops
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from cifarzoo.augment import kernels
from cifarzoo.augment.operations import Operation, apply, table
from cifarzoo.augment.policy_lists import OPERATIONS

BLACK, GRAY = (0, 0, 0), (125, 123, 114)


def pillow(name, image, value):
    """Apply an operation to a uint8 array with Pillow; only operations without a random position."""
    image = Image.fromarray(image)
    affine = {
        "ShearX": (1, value, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, value, 1, 0),
        "TranslateX": (1, 0, value, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, value),
    }
    if name in affine:
        changed = image.transform(image.size, Image.Transform.AFFINE, affine[name])
    elif name == "Rotate":
        changed = image.rotate(value)
    elif name in ("Solarize", "Posterize"):
        changed = getattr(ImageOps, name.lower())(image, value)
    elif name in ("AutoContrast", "Equalize", "Invert"):
        changed = getattr(ImageOps, name.lower())(image)
    else:
        changed = getattr(ImageEnhance, name)(image).enhance(value)
    return np.asarray(changed)


def ours(name, images, value, mirrored=False, corner=None):
    """Apply an operation to a batch with the kernels."""
    height, width = images.shape[1:3]
    parameters = table([Operation("Identity", 1.0, 0.0), Operation(name, 1.0, value)], height, width)
    rows = ops.full((len(images),), 3 if mirrored else 2, dtype="int32")
    corner = np.zeros((len(images), 2), "float32") if corner is None else corner
    return ops.convert_to_numpy(apply(ops.convert_to_tensor(images), rows, corner, parameters, BLACK, GRAY)).astype(
        "int32"
    )


def textured(count, height=32, width=32):
    """Return images with smooth and sharp parts, full and narrow ranges, and one of a single color."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    phase, scale = rng.uniform(0, 6, (count, 1, 1, 3)), rng.uniform(1, 9, (count, 1, 1, 3))
    wave = np.sin(scale * x[None, :, :, None] + phase) * np.cos(scale * y[None, :, :, None])
    noise = rng.normal(0, 0.2, (count, height, width, 3))
    low, high = rng.uniform(0, 120, (count, 1, 1, 3)), rng.uniform(130, 300, (count, 1, 1, 3))
    images = np.clip(low + (high - low) * (0.5 + 0.5 * wave + noise), 0, 255).astype("uint8")
    images[0] = 77
    return images


VALUES = {
    "ShearX": (0.0, 0.03, 0.17, 0.3, -0.3, 0.99),
    "ShearY": (0.0, 0.03, 0.17, 0.3, -0.3, 0.99),
    "TranslateX": (0, 1, 9, -3, 14.4, 2.88, -7.2, 0.5, -0.5, 32),
    "TranslateY": (0, 1, 9, -3, 14.4, 2.88, -7.2, 0.5, -0.5, 32),
    "Rotate": (0, 3, -3, 6, 17.3, 30, -30, 90, -90, 121.5, 135),
    "AutoContrast": (0,),
    "Invert": (0,),
    "Equalize": (0,),
    "Solarize": (0, 1, 76.8, 128, 255, 256),
    "Posterize": (1, 2, 4, 7, 8),
    "Contrast": (0.01, 0.1, 0.37, 0.64, 1.0, 1.18, 1.9, 2.0),
    "Brightness": (0.01, 0.1, 0.37, 0.64, 1.0, 1.18, 1.9, 2.0),
    "Color": (0.01, 0.1, 0.37, 0.64, 1.0, 1.18, 1.9, 2.0),
    "Sharpness": (0.01, 0.1, 0.37, 0.64, 1.0, 1.18, 1.9, 2.0),
}
# The share of values for which floating point and fixed point may truncate to neighboring gray levels.
ONE_OFF = {"AutoContrast": 1e-2, "Contrast": 1e-4, "Color": 1e-4, "Sharpness": 1e-4}


def compare(name, images):
    for value in VALUES[name]:
        expected = np.stack([pillow(name, image, value) for image in images]).astype("int32")
        difference = np.abs(ours(name, images, value).astype("int32") - expected)
        assert difference.max() <= (1 if name in ONE_OFF else 0), (name, value, difference.max())
        assert (difference > 0).mean() <= ONE_OFF.get(name, 0), (name, value, (difference > 0).mean())


def compare_cutout(images):
    corner = np.random.default_rng(1).random((len(images), 2)).astype("float32")
    for side in (0.0, 0.4, 1.0, 3.3, 6.4):
        result = ours("Cutout", images, side, corner=corner)
        for image, (u, v), got in zip(images, corner, result, strict=True):
            expected = Image.fromarray(image)
            if side > 0:
                left, top = (int(max(0.0, 32 * float(place) - side / 2)) for place in (u, v))
                box = (left, top, min(32, left + side), min(32, top + side))
                ImageDraw.Draw(expected).rectangle(box, GRAY)
            np.testing.assert_array_equal(got, np.asarray(expected))


@pytest.mark.parametrize("name", VALUES)
def test_an_operation_agrees_with_pillow(name):
    compare(name, textured(64))


@pytest.mark.parametrize("name", ["ShearX", "Rotate", "TranslateY", "Sharpness", "Equalize", "Contrast"])
def test_an_operation_agrees_with_pillow_on_images_that_are_not_square(name):
    images = textured(8, height=24, width=40)
    for value in [value for value in VALUES[name] if value not in (90, -90)]:
        expected = np.stack([pillow(name, image, value) for image in images]).astype("int32")
        assert np.abs(ours(name, images, value) - expected).max() <= (1 if name in ONE_OFF else 0), (name, value)


@pytest.mark.data
@pytest.mark.parametrize("name", [*VALUES, "Cutout"])
@pytest.mark.slow
def test_an_operation_agrees_with_pillow_on_a_thousand_real_images(name):
    if not os.environ.get("CIFARZOO_DATA"):
        pytest.skip("CIFARZOO_DATA does not name a folder with CIFAR-10")
    from cifarzoo.data import load

    images = load("cifar10").test.images[:1000]
    if name == "Cutout":
        compare_cutout(images)
    else:
        compare(name, images)


def test_all_fifteen_operations_are_compared():
    assert set(VALUES) | {"Cutout"} == set(OPERATIONS)
    assert len(OPERATIONS) == 15


def test_only_geometric_operations_have_a_mirrored_form():
    images = textured(4)
    for name, values in VALUES.items():
        mirrored = ours(name, images, values[-1], mirrored=True)
        geometric = name.startswith(("Shear", "Translate", "Rotate"))
        np.testing.assert_array_equal(mirrored, ours(name, images, -values[-1] if geometric else values[-1]))


def test_an_identity_row_changes_nothing_in_any_table():
    images = textured(8)
    parameters = table([Operation(name, 1.0, 1) for name in OPERATIONS], 32, 32)
    rows = ops.full((8,), 2 * len(OPERATIONS), dtype="int32")
    same = apply(ops.convert_to_tensor(images), rows, np.zeros((8, 2), "float32"), parameters, BLACK, GRAY)
    np.testing.assert_array_equal(ops.convert_to_numpy(same), images)


def test_every_image_gets_its_own_operation():
    images = textured(len(VALUES))
    parameters = table([Operation(name, 1.0, values[-1]) for name, values in VALUES.items()], 32, 32)
    rows = np.arange(len(VALUES), dtype="int32") * 2
    mixed = apply(ops.convert_to_tensor(images), rows, np.zeros((len(images), 2), "float32"), parameters, BLACK, GRAY)
    for image, result, (name, values) in zip(images, ops.convert_to_numpy(mixed), VALUES.items(), strict=True):
        assert np.abs(result - pillow(name, image, values[-1]).astype("int32")).max() <= 1, name


@pytest.mark.parametrize("count", [1, 9, 10, 20, 100, 125, 128])
def test_each_image_is_changed_once_for_any_batch_size(count):
    """Kernels take the batch in pieces, which may overlap; inverting twice would restore the image."""
    images = textured(count)
    np.testing.assert_array_equal(ours("Invert", images, 0.0), 255 - images.astype("int32"))


def test_cutout_fills_the_rectangle_that_pillow_draws():
    compare_cutout(textured(200))


def test_the_smoothing_division_is_exact_for_every_sum():
    total = np.arange(13 * 255 + 1, dtype=np.int64)
    product = (2 * total + 13) * 20165
    assert product.max() < 2**31
    np.testing.assert_array_equal(product >> 19, (2 * total + 13) // 26)


def test_gray_and_smooth_agree_with_pillow():
    images = textured(16)
    x = ops.cast(images, "int32")
    gray = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    np.testing.assert_array_equal(ops.convert_to_numpy(kernels.gray(x))[..., 0], gray)
    smooth = np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.SMOOTH)) for image in images])
    np.testing.assert_array_equal(ops.convert_to_numpy(kernels.smooth(x)), smooth)
