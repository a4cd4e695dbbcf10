"""Which pictures a user means, and what reaches the network: no Keras here."""

import numpy as np
import pytest
from picture_folders import fill, pixels, save
from PIL import Image

from cifarzoo.errors import DataError
from cifarzoo.inference.pictures import Resizing, find_pictures, read_chunks


def read(images, size=16, fit="crop", filter_name="bicubic"):
    return find_pictures(images)[0].read(Resizing(size, fit, filter_name))


def test_folders_are_searched_in_the_order_of_names(tmp_path):
    fill(tmp_path / "photos", counts=2, classes=("dog", "cat"))
    (tmp_path / "photos" / "notes.txt").write_text("no picture", encoding="utf-8")
    save(tmp_path / "alone.png", pixels(0, 0))
    names = [picture.name for picture in find_pictures([tmp_path / "photos", str(tmp_path / "alone.png")])]
    expected = ["photos/cat/000.png", "photos/cat/001.png", "photos/dog/000.png", "photos/dog/001.png", "alone.png"]
    assert names == [str(tmp_path / name) for name in expected]


@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("filter_name", ["bicubic", "box"])
def test_pillow_resizes_as_stated(tmp_path, fit, filter_name):
    image = pixels(1, 0, 60, 90)
    save(tmp_path / "wide.png", image)
    part = image[:, 15:75] if fit == "crop" else image
    expected = np.asarray(Image.fromarray(part).resize((16, 16), Image.Resampling[filter_name.upper()]))
    np.testing.assert_array_equal(read(tmp_path / "wide.png", 16, fit, filter_name), expected)
    np.testing.assert_array_equal(read(image, 16, fit, filter_name), expected)
    # Float pixels are not rounded on the way.
    assert np.abs(read(image.astype("float64"), 16, fit, filter_name) - expected.astype(float)).max() < 1.01
    halves = image / 512
    assert 0 < np.abs(read(halves, 16, fit, filter_name) * 512 - expected).mean() < 1


def test_files_of_every_mode_and_their_arrays_are_seen_as_people_see_them(tmp_path):
    image = pixels(2, 0, 16, 16)
    gray = image.mean(-1).astype(np.uint8)
    alpha = np.zeros((16, 16, 1), np.uint8)
    alpha[:8] = 255
    save(tmp_path / "gray.png", gray)
    np.testing.assert_array_equal(read(tmp_path / "gray.png"), np.stack([gray] * 3, -1))
    save(tmp_path / "alpha.png", np.concatenate([image, alpha], -1))
    over_white = np.where(alpha == 255, image, 255)
    np.testing.assert_array_equal(read(tmp_path / "alpha.png"), over_white)
    np.testing.assert_array_equal(read(np.concatenate([image, alpha], -1)), over_white)
    Image.fromarray(image).quantize(8).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read(tmp_path / "palette.png"), np.asarray(Image.fromarray(image).quantize(8).convert("RGB"))
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    save(tmp_path / "turned.png", image, exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "turned.png"), np.rot90(image, -1))
    np.testing.assert_array_equal(read(Image.open(tmp_path / "turned.png")), np.rot90(image, -1))
    assert np.asarray(find_pictures(tmp_path / "turned.png")[0].whole()).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((20, 30, 3), 1), ((5, 20, 30, 3), 5), ((20, 30), 1), ((5, 20, 30), 5), ((5, 20, 30, 1), 5), ((20, 30, 4), 1)],
)
def test_the_batch_axis_may_be_left_out_and_gray_needs_no_channel(shape, count):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = find_pictures(images)
    assert [picture.name for picture in found] == [f"image {k}" for k in range(count)]
    assert found[0].read(Resizing(16)).shape == (16, 16, 3)
    assert found[0].whole().size == (30, 20)


def test_lists_mix_everything(tmp_path):
    save(tmp_path / "a.png", pixels(0, 0))
    images = [pixels(0, 1), str(tmp_path / "a.png"), Image.fromarray(pixels(0, 2)), np.stack([pixels(0, 3)] * 2)]
    names = [picture.name for picture in find_pictures(images)]
    assert names == ["image 0", str(tmp_path / "a.png"), "image 1", "image 2", "image 3"]
    assert len(find_pictures(pixels(0, 0, 4, 5).tolist())) == 1  # numbers, not a list of pictures


def test_float_pixels_stay_as_they_are_at_the_networks_size():
    image = np.random.default_rng(0).normal(size=(16, 16, 3))
    np.testing.assert_array_equal(read(image), image.astype(np.float32))
    whole = np.full((16, 16, 3), 200, np.int64)
    assert read(whole).dtype == np.uint8 and (read(whole) == 200).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 32, 32)), r"expected \[height, width, 3\] or .*, got \[3, 32, 32\]; move the channels"),
        (np.zeros((8, 3, 32, 32)), r"got \[8, 3, 32, 32\]; move the channels to the last axis"),
        (np.zeros((2, 2, 32, 32, 3)), r"got \[2, 2, 32, 32, 3\]$"),
        (np.zeros((0, 32, 32, 3)), "images: got none; expected at least one"),
        (np.full((4, 4, 3), np.nan), "has values that are not finite"),
        ({"a": 1}, "expected files, folders or arrays, got dict"),
        ([], "images: got none; expected files, folders or arrays"),
        ("nowhere.jpg", "nowhere.jpg: no such file or folder"),
        (np.zeros((4, 4, 4)), "got floats with four; leave alpha out"),
    ],
)
def test_what_is_no_picture_is_one_line(images, message):
    with pytest.raises(DataError, match=message):
        find_pictures(images)


def test_damaged_pictures_do_not_stop_the_others(tmp_path):
    fill(tmp_path / "photos", counts=3, classes=("cat",))
    (tmp_path / "photos" / "cat" / "001.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "photos" / "cat" / "002.png").write_bytes(b"")
    chunks = list(read_chunks(find_pictures(tmp_path / "photos"), Resizing(16), chunk=2))
    assert [len(pictures) for pictures, _, _ in chunks] == [1, 0] and chunks[0][1].shape == (1, 16, 16, 3)
    (first,), (second,) = (failures for _, _, failures in chunks)
    assert "001.png: not a picture that opens (" in first and "002.png: not a picture that opens (is empty)" in second
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: has no pictures"):
        find_pictures(tmp_path / "empty")
