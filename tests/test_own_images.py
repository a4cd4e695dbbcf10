"""Images of the user's own as arrays: folders of pictures, files of arrays, TFDS; no network is built here."""

import errno
import io
import json
import os
import shutil
import sys
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from picture_folders import CLASSES, fill, pixels, save
from PIL import Image

from cifarzoo.data import Dataset, image_cache, load, memory, pictures
from cifarzoo.data.class_folders import list_images
from cifarzoo.data.own_data import ImageFolder, source_from
from cifarzoo.data.statistics import statistics_from
from cifarzoo.errors import CifarzooError, DataError, ExperimentError
from cifarzoo.experiment.files import experiment_from


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CIFARZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def photos(tmp_path):
    """A folder with train and test."""
    fill(tmp_path / "photos" / "train", 6)
    fill(tmp_path / "photos" / "test", 2)
    return tmp_path / "photos"


def experiment(dataset, **keys):
    return experiment_from([{"model": "cifar_resnet20", "dataset": dataset, **keys}], "e.yaml, document 1")


# ------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("mnist", "dataset: expected cifar10, .*, got 'mnist'; images of your own are {folder: PATH}"),
        (3, "dataset: expected cifar10, .*, {folder: PATH}, {arrays: FILE.npz} or {tfds: NAME}, got 3"),
        ({}, "dataset: expected cifar10, .*, got {}"),
        ({"path": "x"}, "dataset: expected cifar10, .*{tfds: NAME}, got {'path': 'x'}"),
        ({"folder": 3}, "dataset.folder: expected text, got 3"),
        ({"folder": "x", "arrays": "y"}, "dataset.arrays: unknown key; give only one of folder, arrays, tfds"),
        ({"folder": ""}, "dataset.folder: expected a path, got ''"),
        ({"folder": "x", "sise": 64}, "dataset.sise: unknown key; did you mean size?"),
        ({"folder": "x", "size": 4}, "dataset.size: must be at least 8, got 4"),
        ({"folder": "x", "size": 513}, "dataset.size: must be at most 512, got 513"),
        ({"folder": "x", "fit": "pad"}, "dataset.fit: expected 'crop' or 'squash', got 'pad'"),
        ({"folder": "x", "filter": "cubic"}, "dataset.filter: expected 'nearest', 'box', .*, got 'cubic'"),
        ({"folder": "x", "test_share": 1}, "dataset.test_share: must be less than 1, got 1"),
        ({"folder": "x", "name": "a b"}, "dataset.name: expected a name of letters, .*, got 'a b'"),
        ({"folder": "x", "name": "cifar10"}, "dataset.name: expected a name that no built-in data set has"),
        ({"arrays": "x.npz", "size": 64}, "dataset.size: unknown key; the arrays are used as they are"),
        ({"tfds": "../x"}, r"dataset.tfds: expected NAME, .*, got '../x'"),
    ],
)
def test_a_wrong_setting_is_one_line(dataset, message):
    with pytest.raises(ExperimentError, match=f"^e.yaml, document 1: {message}") as failure:
        experiment(dataset)
    assert "\n" not in str(failure.value)


def test_the_name_is_that_of_the_folder_and_its_place_is_not_decisive():
    one, other = experiment({"folder": "/a/my photos/"}), experiment({"folder": "~/b/my photos", "size": 32})
    assert one.dataset_name == "my_photos" and experiment({"arrays": "x/digits.npz"}).dataset_name == "digits"
    assert one.fingerprint() == other.fingerprint()
    different = [{"size": 64}, {"fit": "squash"}, {"seed": 1}, {"name": "others"}]
    prints = {experiment({"folder": "/a/my photos"} | keys).fingerprint() for keys in different}
    assert len(prints | {one.fingerprint(), experiment("cifar10").fingerprint()}) == 6
    assert experiment({"folder": "cifar10"}).dataset_name == "cifar10_images"
    assert experiment_from([one.resolved()], "again").dataset == one.dataset


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ({"folder": "/data/猫"}, "猫"),
        ({"folder": "/data/мои фото"}, "мои_фото"),
        ({"folder": unicodedata.normalize("NFD", "/data/Vögel")}, "Vögel"),
        ({"folder": "/data/photos/."}, "photos"),
        ({"folder": "/data/photos/train/.."}, "photos"),
        ({"folder": "/data/!?"}, "images"),
        ({"arrays": "data/фото.npz"}, "фото"),
        ({"tfds": "imagenet_resized/64x64"}, "imagenet_resized_64x64"),
        ({"tfds": "downsampled_imagenet/64x64:2.0.0"}, "downsampled_imagenet_64x64"),
        ({"tfds": "svhn_cropped:3.1.0"}, "svhn_cropped"),
    ],
)
def test_names_tell_data_sets_apart(source, name):
    assert experiment(source).dataset_name == name


def test_a_data_set_with_other_letters_is_read_and_kept(tmp_path, cache):
    assert load({"folder": str(fill(tmp_path / ("猫" * 80), 3))}).name == "猫" * 33
    assert [path.name[:33] for path in cache.iterdir()] == ["猫" * 33]


def test_stages_of_progressive_resizing_are_smaller_than_the_images():
    stages = {"train_parameters": {"progressive_resizing": [{"size": 48, "until": 10}]}}
    assert experiment({"folder": "x", "size": 64}, **stages).image_sizes(100, 64).at(0) == 48
    for dataset, size in (({"folder": "x", "size": 48}, 48), ("cifar10", 32)):
        with pytest.raises(ExperimentError, match=rf"progressive_resizing\[0\].size: must be less than {size}, got 48"):
            experiment(dataset, **stages)


# -------------------------------------------------------------------------------------------------------- folders


def test_train_and_test_folders(photos):
    dataset = load({"folder": str(photos), "size": 20})
    assert dataset.name == "photos" and dataset.class_names == CLASSES
    assert (len(dataset.train), len(dataset.test), dataset.inputs.size) == (18, 6, 20)
    listing = list_images(ImageFolder(folder=str(photos)))
    for split, files in ((dataset.train, listing.train), (dataset.test, listing.test)):
        for image, label, file in zip(split.images, split.labels, files, strict=True):
            assert file.key == f"{CLASSES[label]}/{Path(file.path).name}"
            np.testing.assert_array_equal(image, pixels(label, int(Path(file.path).stem)))
    assert len(set(dataset.train.labels[:6])) > 1  # the order mixes the classes


def test_a_share_of_each_class_is_held_out_by_the_seed_and_new_images_keep_their_side(tmp_path):
    root = fill(tmp_path / "flat", 20)
    first = list_images(ImageFolder(folder=str(root), test_share=0.25))
    assert [sum(file.label == label for file in first.test) for label in range(3)] == [5, 5, 5]
    keys = {file.key for file in first.test}
    assert not keys & {file.key for file in first.train} and len(first.train) == 45
    assert keys != {file.key for file in list_images(ImageFolder(folder=str(root), test_share=0.25, seed=1)).test}
    shutil.copytree(root, tmp_path / "moved")
    moved = list_images(ImageFolder(folder=str(tmp_path / "moved"), test_share=0.25))
    assert [file.key for file in moved.train] == [file.key for file in first.train]
    save(root / "cat" / "new.png", pixels(0, 99))
    more = list_images(ImageFolder(folder=str(root), test_share=0.25))
    assert len(keys - {file.key for file in more.test}) <= 1


def test_other_names_of_the_split_folders_and_several_at_once(tmp_path):
    for name, count in (("train", 4), ("valid", 3), ("test", 2)):
        fill(tmp_path / "cinic" / name, count)
    assert len(load({"folder": str(tmp_path / "cinic"), "test": "valid"}).test) == 9
    joined = load({"folder": str(tmp_path / "cinic"), "train": "train+valid"})
    assert len(joined.train) == 21 and len(joined.test) == 6


def test_tiny_imagenets_own_folders(tmp_path):
    """Its training images lie in CLASS/images, and a file names the classes of the validation images."""
    root = tmp_path / "tiny-imagenet-200"
    for label, name in enumerate(("n01", "n02")):
        for number in range(3):
            save(root / "train" / name / "images" / f"{name}_{number}.JPEG", pixels(label, number, 64, 64))
    (root / "train" / "n01" / "n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t62\t62\n", encoding="utf-8")
    for number in range(4):
        save(root / "val" / "images" / f"val_{number}.JPEG", pixels(number % 2, number, 64, 64))
    lines = "".join(f"val_{number}.JPEG\tn0{number % 2 + 1}\t0\t0\t62\t62\n" for number in range(4))
    (root / "val" / "val_annotations.txt").write_text(lines, encoding="utf-8")
    source = {"folder": str(root), "test": "val", "size": 64}
    dataset = load(source)
    assert dataset.name == "tiny-imagenet-200" and dataset.class_names == ("n01", "n02")
    assert dataset.train.images.shape == (6, 64, 64, 3) and sorted(dataset.test.labels) == [0, 0, 1, 1]
    (root / "val" / "val_annotations.txt").write_text("../x.JPEG\tn01\n", encoding="utf-8")
    with pytest.raises(DataError, match="val_annotations.txt, line 1: expected an image in images/ and its class"):
        load(source)


def test_class_names_are_in_the_order_of_numbers_if_all_are_numbers(tmp_path):
    fill(tmp_path / "digits", 2, [str(number) for number in range(11)])
    assert load({"folder": str(tmp_path / "digits")}).class_names == tuple(map(str, range(11)))


def test_pictures_are_resized_with_the_stated_filter(tmp_path):
    for label in range(2):
        for number in range(2):
            save(tmp_path / "wide" / f"c{label}" / f"{number}.png", pixels(label, number, 30, 50))
    picture = Image.fromarray(pixels(0, 0, 30, 50))
    expected = {
        ("crop", "bicubic"): picture.crop((10, 0, 40, 30)).resize((16, 16), Image.Resampling.BICUBIC),
        ("crop", "box"): picture.crop((10, 0, 40, 30)).resize((16, 16), Image.Resampling.BOX),
        ("squash", "lanczos"): picture.resize((16, 16), Image.Resampling.LANCZOS),
    }
    for (fit, name), image in expected.items():
        result = pictures.read_picture(tmp_path / "wide" / "c0" / "0.png", 16, fit, name)
        np.testing.assert_array_equal(result, np.asarray(image))


def test_pictures_of_any_mode_become_rgb(tmp_path):
    gray, alpha = np.full((9, 9), 200, np.uint8), np.zeros((9, 9, 4), np.uint8)
    save(tmp_path / "gray.png", gray)
    save(tmp_path / "deep.png", gray.astype(np.uint16) * 257)
    save(tmp_path / "clear.png", alpha)
    color = Image.new("RGB", (9, 9), (10, 200, 30))
    color.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    color.quantize(4).save(tmp_path / "palette.gif")
    turned = np.zeros((9, 9, 3), np.uint8)
    turned[0] = 255  # the first row, which EXIF's orientation 6 says is the right-hand column
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)

    def read(name):
        return pictures.read_picture(tmp_path / name, 9, "crop", "nearest")

    assert (read("gray.png") == 200).all() and (read("deep.png") == 200).all() and (read("clear.png") == 255).all()
    assert np.abs(read("palette.gif").astype(int) - (10, 200, 30)).max() <= 1
    assert np.abs(read("cmyk.jpg").astype(int) - (10, 200, 30)).max() <= 4
    np.testing.assert_array_equal(read("turned.png"), np.rot90(turned, -1))


def test_dark_pictures_of_16_bits_stay_dark(tmp_path):
    for suffix in (".png", ".tif"):
        for value, expected in ((200, 0), (300, 1), (51_200, 200), (65_535, 255)):
            save(tmp_path / f"deep{suffix}", np.full((9, 9), value, np.uint16))
            assert (pictures.read_picture(tmp_path / f"deep{suffix}", 9, "crop", "nearest") == expected).all()
    (tmp_path / "deep.pgm").write_bytes(b"P5 9 9 65535\n" + bytes([1, 44]) * 81)
    assert (pictures.read_picture(tmp_path / "deep.pgm", 9, "crop", "nearest") == 1).all()
    save(tmp_path / "wide.tif", np.full((9, 9), 200, np.int32))
    with pytest.raises(ValueError, match="32-bit or signed pixels; expected 8 or 16 bits"):
        pictures.read_picture(tmp_path / "wide.tif", 9, "crop", "nearest")


def test_pictures_of_kinds_that_are_not_read_are_counted(photos, caplog):
    for name in ("a.HEIC", "b.heic", "c.avif", "d.csv"):
        (photos / "train" / "cat" / name).write_bytes(b"x")
    fill(photos / "train" / "cat", 1, ["@eaDir"])
    assert len(list_images(ImageFolder(folder=str(photos))).train) == 18
    assert "photos: without 1 .avif, 2 .heic files, which are not read; convert them to PNG" in caplog.text


def remove(root):
    shutil.rmtree(root)


def empty(root):
    shutil.rmtree(root)
    root.mkdir()


def empty_class(root):
    (root / "train" / "newt").mkdir()


def no_pictures(root):
    for path in root.rglob("*.png"):
        path.rename(path.with_suffix(".txt"))


def loose_picture(root):
    save(root / "train" / "loose.png", pixels(0, 0))


def single_class(root):
    for name in ("dog", "owl"):
        shutil.rmtree(root / "train" / name)


def unknown_test_class(root):
    fill(root / "test", 1, ["newt"])


def no_test(root):
    (root / "test").rename(root / "val")


def damaged(root):
    for name in ("000.png", "001.png"):
        path = root / "train" / "cat" / name
        path.write_bytes(path.read_bytes()[:200])


def empty_picture(root):
    (root / "train" / "cat" / "000.png").write_bytes(b"")


def other_format(root):
    (root / "train" / "cat" / "000.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def link_to_nowhere(root):
    (root / "train" / "cat" / "link.png").symlink_to(root / "none.png")


def twice(root):
    """Files whose names are equal after Unicode normalization, but not on this disk, unless it normalizes them."""
    for form in ("NFC", "NFD"):
        save(root / "train" / "cat" / f"{unicodedata.normalize(form, 'é')}.png", pixels(0, 99))
    if len(list((root / "train" / "cat").iterdir())) != 8:
        pytest.skip("this file system has one name for both")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (twice, "train/cat/é.png: has the name of another image, .*, in another Unicode form; rename one"),
        (remove, "dataset.folder: .*photos: no such folder"),
        (empty, "photos: is empty; expected a folder of images per class"),
        (empty_class, "train/newt: has no image; remove the folder, or add images of this class"),
        (no_pictures, r"train: has no image in its folders; expected \.bmp, "),
        (loose_picture, "train/loose.png: lies in no class folder; move every image into a folder named after its"),
        (single_class, "train: has a single class, 'cat'; expected at least two class folders"),
        (unknown_test_class, "test: class 'newt' has test images but no training images; .* have cat, dog, owl"),
        (no_test, "photos/test: no such folder; dataset.test names the folder of images to test on, and .* train, val"),
        (damaged, "cat/00[01].png: not a picture that opens .*, and 1 more; remove or repair them"),
        (empty_picture, r"cat/000.png: not a picture that opens \(is empty\); remove or repair"),
        (other_format, r"cat/000.png: not a picture that opens \(no format that Pillow knows\)"),
        pytest.param(
            link_to_nowhere,
            "cat/link.png: cannot be read",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="links need rights there"),
        ),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line(photos, change, message):
    change(photos)
    with pytest.raises(DataError, match=message) as failure:
        load({"folder": str(photos)})
    assert "\n" not in str(failure.value)


def test_a_folder_below_a_class_that_cannot_be_read_is_one_line(photos, monkeypatch):
    """As a network share that fails now and then; its pictures must not be missing."""
    deep, scandir = photos / "train" / "cat" / "deep", os.scandir
    deep.mkdir()

    def failing(path):
        if Path(path) == deep:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(DataError, match=r"dataset.folder: .*cat/deep: cannot be read \(Permission denied\)"):
        list_images(ImageFolder(folder=str(photos)))


def test_folders_of_one_name_in_two_unicode_forms_are_one_class(tmp_path):
    for form, first in (("NFC", 0), ("NFD", 10)):
        for number in range(3):
            save(tmp_path / "x" / unicodedata.normalize(form, "é") / f"{first + number}.png", pixels(0, number))
    fill(tmp_path / "x", 3, ["b"])
    listing = list_images(ImageFolder(folder=str(tmp_path / "x")))
    assert len(listing.train) + len(listing.test) == 9 and listing.class_names == ("b", "é")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"test": "train"}, "dataset.train and dataset.test: .*: expected separate folders, got the same .*, 'train'"),
        ({"train": "train+test"}, "dataset.train and dataset.test: .*, got the same folder, 'test'"),
        ({"train": "test/../train+train"}, "dataset.train: .*, got the same folder, 'train'"),
        ({"train": "."}, "dataset.train and dataset.test: .*, got '.' and 'test', one in the other"),
    ],
)
def test_no_image_is_trained_on_and_tested_on(photos, names, message):
    with pytest.raises(DataError, match=message):
        list_images(ImageFolder(folder=str(photos), **names))


@pytest.mark.parametrize("names", [("Training", "Testing"), ("seg_train", "seg_test", "seg_pred"), ("train1", "val")])
def test_splits_of_other_names_are_not_classes(tmp_path, names):
    for name in names:
        fill(tmp_path / "brains" / name, 2)
    message = f"{names[0]} and {names[1]} look like splits .*; write .*, train: {names[0]}, test: {names[1]}}}"
    with pytest.raises(DataError, match=message):
        list_images(ImageFolder(folder=str(tmp_path / "brains")))
    assert len(list_images(ImageFolder(folder=str(tmp_path / "brains"), train=names[0], test=names[1])).train) == 6


def test_flat_splits_are_not_classes_but_trains_are(tmp_path, caplog):
    fill(tmp_path / "flat", 2, ["train", "test"])
    with pytest.raises(DataError, match="train and test look like splits instead of classes"):
        list_images(ImageFolder(folder=str(tmp_path / "flat")))
    fill(tmp_path / "traffic", 2, ["bus", "train", "contest"])
    assert list_images(ImageFolder(folder=str(tmp_path / "traffic"))).class_names == ("bus", "contest", "train")
    assert not caplog.text
    for name in ("one", "other"):
        fill(tmp_path / "halves" / name, 2)
    list_images(ImageFolder(folder=str(tmp_path / "halves")))
    assert "its classes are one, other, and each of them has the folders cat, dog, owl; if these" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_take_no_pictures_of_other_classes(photos, tmp_path):
    cat = photos / "train" / "cat"
    (cat / "up").symlink_to("..")
    (cat / "self").symlink_to(".")
    fill(tmp_path, 3, ["elsewhere"])
    (cat / "more").symlink_to(tmp_path / "elsewhere")
    labels = [file.label for file in list_images(ImageFolder(folder=str(photos))).train]
    assert [labels.count(label) for label in range(3)] == [9, 6, 6]
    (cat / "sibling").symlink_to("../dog")
    with pytest.raises(DataError, match=r"leads to the images of .*train/cat; an image has one class, in one split"):
        list_images(ImageFolder(folder=str(photos)))
    (cat / "sibling").unlink()
    (photos / "test" / "cat" / "same").symlink_to("../../train/cat")
    with pytest.raises(DataError, match=r"test/cat/same: leads to the images of .*train/cat; an image has one class"):
        list_images(ImageFolder(folder=str(photos)))
    (photos / "test" / "cat" / "same").unlink()
    (photos / "train" / "newt").symlink_to("nowhere")
    with pytest.raises(DataError, match="train/newt: is a link to nowhere, which does not exist"):
        list_images(ImageFolder(folder=str(photos)))


def test_one_picture_per_class_cannot_be_split(tmp_path):
    root = fill(tmp_path / "few", 1)
    with pytest.raises(DataError, match="cat: has one image; expected at least two, one to train and one to test on"):
        load({"folder": str(root)})


def test_hidden_files_and_other_kinds_are_ignored(photos):
    for name in (".DS_Store", "._000.png", "Thumbs.db", "labels.csv"):
        (photos / "train" / "cat" / name).write_bytes(b"x")
    (photos / ".cache").mkdir()
    (photos / "train" / ".ipynb_checkpoints").mkdir()
    assert len(load({"folder": str(photos)}).train) == 18


def test_huge_pictures_are_refused_unopened(photos):
    """A few kilobytes that would expand to 430 MB."""
    path = photos / "train" / "cat" / "000.png"
    Image.new("1", (12_000, 12_000)).save(path)
    with pytest.raises(
        DataError, match=r"cat/000.png: not a picture that opens \(.*12000 x 12000 pixels; expected at most 100,000,000"
    ):
        load({"folder": str(photos)})


# ---------------------------------------------------------------------------------------------- cache and memory


def test_decoded_pictures_are_kept_until_a_file_or_a_setting_changes(photos, cache, monkeypatch):
    decoded = []
    plain = pictures.read_pictures
    monkeypatch.setattr(pictures, "read_pictures", lambda *a: decoded.append(1) or plain(*a))
    first = load({"folder": str(photos)})
    again = load({"folder": str(photos)})
    assert len(decoded) == 1 and len(list(cache.iterdir())) == 1
    np.testing.assert_array_equal(first.train.images, again.train.images)
    assert first.digest == again.digest and first.class_names == again.class_names
    load({"folder": str(photos), "fit": "squash"})
    save(photos / "train" / "cat" / "000.png", pixels(2, 0))
    os.utime(photos / "train" / "cat" / "000.png", ns=(1, 1))
    changed = load({"folder": str(photos)})
    assert len(decoded) == 3 and changed.digest != first.digest


def test_a_damaged_cache_is_read_from_the_pictures_again(photos, cache, caplog):
    first = load({"folder": str(photos)})
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-200])
    assert load({"folder": str(photos)}).digest == first.digest
    assert "not read, the images are decoded again" in caplog.text


def test_a_cache_that_cannot_be_written_is_a_warning(photos, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    assert len(load({"folder": str(photos)}).train) == 18
    assert "cannot be written" in caplog.text


def test_what_memory_cannot_hold_is_refused_before_it_is_read(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 100_000)
    monkeypatch.setattr(image_cache, "cached", None)
    message = "'photos': 24 images of 64 x 64 pixels need 0.6 MB while they are trained on, but at most 0.1 MB are free"
    with pytest.raises(DataError, match=message):
        load({"folder": str(photos), "size": 64})
    save_arrays(tmp_path / "own.npz", x_train=np.zeros((40, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="'own': its arrays need 0.3 MB"):
        load({"arrays": str(tmp_path / "own.npz")})


def test_idle_page_cache_of_a_container_is_free(tmp_path):
    for name, text in (("max", "16000"), ("current", "15500"), ("stat", "anon 400\ninactive_file 14000\nfile 15000\n")):
        (tmp_path / f"memory.{name}").write_text(text, encoding="utf-8")
    assert memory._of_container(tmp_path) == 14_500
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert memory._of_container(tmp_path) is None


def test_free_memory_is_a_plausible_number():
    free = memory.free_memory()
    assert free is None or 2**20 < free < 2**50


def test_a_line_appears_after_two_seconds(monkeypatch):
    clock = iter([0.0, 1.0, 2.5, 3.0, 40.0])
    monkeypatch.setattr(pictures.time, "monotonic", lambda: next(clock))
    lines = []
    progress = pictures.Progress("photos: opening 9 pictures", lines.append)
    for done in (0.1, 0.25, 0.3, 1.0):
        progress(done)
    assert lines == ["photos: opening 9 pictures: 25 %, about 8 s left"]


# --------------------------------------------------------------------------------------------------------- arrays


def save_arrays(path, **arrays):
    usual = {
        "x_train": np.zeros((8, 32, 32, 3), np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None, None] * 20,
        "y_train": np.arange(8) % 2,
        "x_test": np.zeros((4, 32, 32, 3), np.uint8),
        "y_test": np.arange(4) % 2,
    }
    np.savez_compressed(path, **{key: value for key, value in (usual | arrays).items() if value is not None})
    return path


def test_a_file_of_arrays_equals_the_arrays(tmp_path):
    path = save_arrays(tmp_path / "own.npz", class_names=np.array(["left", "right"]))
    dataset = load({"arrays": str(path)})
    assert dataset.name == "own" and dataset.class_names == ("left", "right")
    arrays = np.load(path)
    same = Dataset.from_arrays(
        "x",
        (arrays["x_train"], arrays["y_train"]),
        (arrays["x_test"], arrays["y_test"]),
        ["left", "right"],
    )
    assert dataset.digest == same.digest and dataset.inputs == same.inputs
    # Keras' own data sets have labels [n, 1].
    columns = {key: arrays[key][:, None] for key in ("y_train", "y_test")}
    columns = save_arrays(tmp_path / "columns.npz", **columns, class_names=arrays["class_names"])
    assert load({"arrays": str(columns), "name": "own"}).digest == same.digest


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_gray_arrays_become_rgb(tmp_path, shape):
    train, test = (np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8) for n in (8, 4))
    dataset = load({"arrays": str(save_arrays(tmp_path / "mnist.npz", x_train=train, x_test=test))})
    assert dataset.train.images.shape == (8, 28, 28, 3) and dataset.inputs.size == 28
    for channel in range(3):
        np.testing.assert_array_equal(dataset.train.images[..., channel], train.reshape(8, 28, 28))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y_test": None}, "own.npz: has no y_test; expected x_train, y_train, x_test, y_test and perhaps class_names"),
        ({"x_train": np.zeros((8, 3, 32, 32), np.uint8)}, r"train images are uint8 .*, got uint8 \[8, 3, 32, 32\]"),
        ({"x_train": np.zeros((8, 32, 32, 3))}, "got float64"),
        ({"x_train": np.zeros((8, 24, 32, 3), np.uint8)}, r"got uint8 \[8, 24, 32, 3\]"),
        ({"x_test": np.zeros((4, 28, 28, 3), np.uint8)}, "training images are 32 pixels wide and test images 28"),
        ({"y_train": np.arange(7)}, r"train labels are integers \[8\], got int64 \[7\]"),
        (
            {"y_test": np.arange(4)},
            "test labels are integers from 0 to 1, one for each of the 2 class names, got 0 to 3",
        ),
        ({"y_train": np.zeros(8, int)}, "has a single class; expected at least two"),
        ({"y_train": np.arange(8) / 1.0}, r"own.npz: y_train are integers \[images\], got float64 \[8\]"),
        ({"y_test": np.zeros((4, 2), int)}, r"own.npz: y_test are integers \[images\], got int64 \[4, 2\]"),
        ({"class_names": np.array(["a", "a"])}, "own.npz: class_names has 'a' twice"),
        ({"class_names": np.arange(2)}, r"class_names are texts \[classes\], got int64 \[2\]"),
        ({"class_names": np.array(["a", "b"], object)}, "class_names holds object; expected plain numbers or text"),
    ],
)
def test_wrong_arrays_are_one_line(tmp_path, arrays, message):
    path = save_arrays(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match=message) as failure:
        load({"arrays": str(path)})
    assert "\n" not in str(failure.value)


def bomb(path):
    """A member that claims a terabyte."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "dataset.arrays: .*own.npz: no such file"),
        (lambda path: path.mkdir(), "own.npz: is not a file"),
        (lambda path: path.write_bytes(b"x" * 99), "own.npz: not an .npz file, or damaged"),
        (bomb, r"own.npz: x_train claims the shape \(1099511627776,\)"),
    ],
)
def test_hostile_files_are_one_line(tmp_path, write, message):
    write(tmp_path / "own.npz")
    with pytest.raises(DataError, match=message) as failure:
        load({"arrays": str(tmp_path / "own.npz")})
    assert "\n" not in str(failure.value)


# ----------------------------------------------------------------------------------------------------- statistics


def test_statistics_are_those_of_the_training_images(photos):
    dataset = load({"folder": str(photos), "size": 20})
    images = dataset.train.images.astype(np.float64)
    statistics = dataset.inputs.statistics
    np.testing.assert_allclose(statistics["mean"], images.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(statistics["std"], images.std((0, 1, 2)), rtol=1e-12)
    assert dataset.mean_color == tuple(round(value) for value in images.mean((0, 1, 2)))
    assert json.loads(json.dumps(statistics)) == statistics


def test_images_of_one_color_and_black_ones(tmp_path):
    gray = np.full((8, 32, 32, 3), 7, np.uint8)
    assert load({"arrays": str(save_arrays(tmp_path / "a.npz", x_train=gray))}).inputs.statistics["std"] == [1, 1, 1]
    dark = load({"arrays": str(save_arrays(tmp_path / "b.npz", x_train=gray * 0))})
    assert dark.inputs.statistics == statistics_from(dark.inputs.statistics) == {"mean": [0, 0, 0], "std": [1, 1, 1]}


def test_the_parts_are_stratified(tmp_path):
    dataset = load({"folder": str(fill(tmp_path / "flat", 30))})
    train, validation = dataset.split("train45k"), dataset.split("validation")
    assert np.bincount(validation.labels).tolist() == [2, 2, 2] and np.bincount(train.labels).tolist() == [22, 22, 22]
    assert source_from({"folder": "x"}).known_name == "x"
    with pytest.raises(CifarzooError, match="split 'val' of flat does not exist"):
        dataset.split("val")
