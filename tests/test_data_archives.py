import gzip
import hashlib
import io
import os
import pickle
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from cifar_archives import (
    FILES,
    made_up_images,
    made_up_labels,
    needs_data,
    planes,
    python2_pickle,
    write_folder,
    write_tar,
)

from cifarzoo.data import archives, load, published_records
from cifarzoo.errors import DataError


@pytest.fixture(autouse=True)
def no_other_archives(monkeypatch, tmp_path):
    """Hide this machine's archives from the tests; a data test asks for `real`."""
    real = os.environ.get("CIFARZOO_DATA")
    monkeypatch.delenv("CIFARZOO_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "no-keras"))
    return real


@pytest.fixture
def real(no_other_archives):
    return Path(no_other_archives)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A folder with the four unpacked archives in full size."""
    parent = tmp_path_factory.mktemp("made_up")
    for folder in FILES:
        write_folder(parent, folder)
    yield parent
    shutil.rmtree(parent)


def dataset_of(folder):
    return "cifar100" if "100" in folder else "cifar10"


def link(parent, folder, made_up, **replaced):
    """Link the made-up archive into another folder, with some files replaced (None: left out)."""
    path = parent / folder
    path.mkdir(parents=True)
    for name in FILES[folder]:
        contents = replaced.get(name.partition(".")[0], ...)
        if contents is ...:
            (path / name).symlink_to(made_up / folder / name)
        elif contents is not None:
            (path / name).write_bytes(contents)
    return path


def check_made_up(dataset):
    first = 0
    files = FILES["cifar-10-batches-bin" if dataset.name == "cifar10" else "cifar-100-binary"]
    for number, (name, count) in enumerate(files.items()):
        split, first = (dataset.test, 0) if name.startswith("test") else (dataset.train, first)
        part = slice(first, first + count)
        np.testing.assert_array_equal(split.images[part][::37], made_up_images(count, number)[::37], strict=True)
        np.testing.assert_array_equal(split.labels[part], made_up_labels(count, number, dataset.classes))
        if dataset.name == "cifar100":
            np.testing.assert_array_equal(split.coarse_labels[part], made_up_labels(count, number, 20))
        first += count
    for split, count in ((dataset.train, 50_000), (dataset.test, 10_000)):
        assert split.images.shape == (count, 32, 32, 3) and split.labels.shape == (count,)
        assert split.labels.dtype == np.int32
        assert (split.coarse_labels is None) == (dataset.name == "cifar10")


@pytest.mark.parametrize("folder", FILES)
def test_reads_an_unpacked_archive(made_up, tmp_path, folder):
    link(tmp_path, folder, made_up)
    check_made_up(load(dataset_of(folder), tmp_path))
    assert archives.find(dataset_of(folder), tmp_path / folder) == archives.find(dataset_of(folder), tmp_path)


def test_reads_a_tar_without_unpacking_it(made_up, tmp_path):
    # As in the official archive, the files are in no particular order, with a page of text among them.
    folder = "cifar-10-batches-bin"
    members = {f"{folder}/{name}": (made_up / folder / name).read_bytes() for name in reversed(FILES[folder])}
    tar = tmp_path / "cifar-10-binary.tar.gz"
    write_tar(tar, {f"{folder}/readme.html": b"hello"} | members)
    check_made_up(load("cifar10", tar))
    assert archives.find("cifar10", tmp_path) == archives.find("cifar10", tar)
    assert list(tmp_path.iterdir()) == [tar]


def test_agrees_with_the_reader_of_keras(made_up):
    from cifarzoo.keras_internals.support import private_module

    folder = made_up / "cifar-10-batches-py"
    rows, labels = private_module("datasets.cifar").load_batch(folder / "test_batch")
    dataset = load("cifar10", folder)
    np.testing.assert_array_equal(dataset.test.images, rows.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(dataset.test.labels, labels)


def test_folders_are_searched_in_order(made_up, tmp_path, monkeypatch):
    """$CIFARZOO_DATA comes before Keras' cache; data_dir, if set, is the only folder."""
    batch = b"".join([b"\x07" * 3073] * 10_000)
    mine, keras_home, named = tmp_path / "mine", tmp_path / "keras", tmp_path / "named"
    link(keras_home / "datasets", "cifar-10-batches-bin", made_up)
    monkeypatch.setenv("KERAS_HOME", str(keras_home))
    assert load("cifar10").test.labels[0] == 5
    monkeypatch.setenv("CIFARZOO_DATA", str(mine))
    assert load("cifar10").test.labels[0] == 5  # none there
    link(mine, "cifar-10-batches-bin", made_up, test_batch=batch)
    assert load("cifar10").test.labels[0] == 7
    link(named, "cifar-10-batches-bin", made_up, test_batch=batch.replace(b"\x07", b"\x08"))
    assert load("cifar10", named).test.labels[0] == 8
    with pytest.raises(
        DataError, match="no cifar100 archive in .*named; expected one of cifar-100-binary/.*python.tar.gz"
    ):
        load("cifar100", named)


@pytest.mark.slow
def test_finds_what_keras_downloaded(made_up, tmp_path, monkeypatch):
    """`keras.datasets` calls `get_file` like this, except for the address."""
    import keras

    folder = "cifar-10-batches-py"
    tar = tmp_path / "cifar-10-python.tar.gz"
    write_tar(tar, {f"{folder}/{name}": (made_up / folder / name).read_bytes() for name in FILES[folder]})
    keras_home = tmp_path / "keras"
    keras_home.mkdir()
    keras.utils.get_file(f"{folder}-target", tar.as_uri(), extract=True, cache_dir=str(keras_home))
    monkeypatch.setenv("KERAS_HOME", str(keras_home))
    check_made_up(load("cifar10"))
    shutil.rmtree(keras_home / "datasets" / f"{folder}-target")
    assert len(list((keras_home / "datasets").iterdir())) == 1  # the download itself, under Keras' name for it
    assert load("cifar10").test.labels[0] == 5


def fails(dataset, path, *words):
    with pytest.raises(DataError) as raised:
        load(dataset, path)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


def test_a_missing_file(made_up, tmp_path):
    path = link(tmp_path, "cifar-10-batches-bin", made_up, data_batch_3=None)
    fails("cifar10", tmp_path, path, "data_batch_3.bin is missing")


@pytest.mark.parametrize("length", [0, 30_729_999, 30_730_001])
def test_a_file_of_the_wrong_length(made_up, tmp_path, length):
    path = link(tmp_path, "cifar-10-batches-bin", made_up, data_batch_1=bytes(length))
    expected = "expected 30,730,000 bytes (10,000 records of 3,073)"
    fails("cifar10", tmp_path, path / "data_batch_1.bin", expected, f"found {length:,}")


def test_a_label_out_of_range(made_up, tmp_path):
    batch = bytearray(30_730_000)
    batch[3073 * 1234] = 10
    path = link(tmp_path, "cifar-10-batches-bin", made_up, data_batch_1=bytes(batch))
    fails("cifar10", tmp_path, path / "data_batch_1.bin", "label to be from 0 to 9", "found 10 in record 1,234")


@pytest.mark.parametrize(("offset", "value", "word"), [(0, 20, "coarse label to be from 0 to 19"), (1, 100, "0 to 99")])
def test_a_cifar100_label_out_of_range(made_up, tmp_path, offset, value, word):
    batch = bytearray(50_000 * 3074)
    batch[offset] = value
    path = link(tmp_path, "cifar-100-binary", made_up, train=bytes(batch))
    fails("cifar100", tmp_path, path / "train.bin", word, f"found {value} in record 0")


def test_a_broken_archive_is_never_passed_over(made_up, tmp_path, monkeypatch):
    link(tmp_path / "keras" / "datasets", "cifar-10-batches-bin", made_up)
    broken = link(tmp_path / "mine", "cifar-10-batches-py", made_up, data_batch_1=b"nonsense")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("CIFARZOO_DATA", str(tmp_path / "mine"))
    fails("cifar10", None, broken / "data_batch_1", "expected a pickled CIFAR batch")


def batch(**changes):
    """Return a valid batch except for the changes."""
    whole = {b"data": np.zeros((10_000, 3072), np.uint8), b"labels": [0] * 10_000}
    whole |= {key.encode(): value for key, value in changes.items()}
    return pickle.dumps({key: value for key, value in whole.items() if value is not None}, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": None}, ["'data' to be uint8 (10000, 3072)", "found NoneType"]),
        ({"data": np.zeros((9_999, 3072), np.uint8)}, ["found uint8 (9999, 3072)"]),
        ({"data": np.zeros((10_000, 307), np.int32)}, ["found int32"]),
        ({"labels": None}, ["'labels' to be 10,000 integers", "found NoneType"]),
        ({"labels": [0] * 9_999}, ["found (9999,)"]),
        ({"labels": ["cat"] * 10_000}, ["found list"]),
        ({"labels": [0.5] * 10_000}, ["found list"]),
        ({"labels": [-1] + [0] * 9_999}, ["found -1 in record 0"]),
        ({"labels": [0] * 9_999 + [10]}, ["found 10 in record 9,999"]),
        ({"labels": [2**70] + [0] * 9_999}, [f"found {2**70} in record 0"]),
        ({"labels": [0, 10**5000] + [0] * 9_998}, ["found a number of 4153 hexadecimal digits in record 1"]),
    ],
)
def test_a_pickle_with_wrong_contents(made_up, tmp_path, changes, words):
    path = link(tmp_path, "cifar-10-batches-py", made_up, data_batch_1=batch(**changes))
    fails("cifar10", tmp_path, path / "data_batch_1", *words)


def test_a_malicious_pickle(made_up, tmp_path):
    harm = b"cos\nsystem\n(" + python2_pickle(f"touch {tmp_path}/harm".encode())[2:-1] + b"tR."
    path = link(tmp_path, "cifar-10-batches-py", made_up, data_batch_1=b"\x80\x02" + harm)
    fails("cifar10", tmp_path, path / "data_batch_1", "it asks for os.system")
    assert not (tmp_path / "harm").exists()


def test_a_pickle_that_is_far_too_long_is_not_read(made_up, tmp_path):
    path = link(tmp_path, "cifar-10-batches-py", made_up, data_batch_1=b"")
    os.truncate(path / "data_batch_1", 10**12)  # a hole: takes no space
    started = time.perf_counter()
    fails("cifar10", tmp_path, path / "data_batch_1", "expected about 30,730,000 bytes", "found 1,000,000,000,000")
    assert time.perf_counter() - started < 1


@pytest.fixture(scope="module")
def tar_bytes(tmp_path_factory):
    """A complete cifar-10-binary.tar.gz whose records are zeros."""
    path = tmp_path_factory.mktemp("tar") / "whole.tar.gz"
    folder = "cifar-10-batches-bin"
    write_tar(path, {f"{folder}/{name}": bytes(30_730_000) for name in FILES[folder]})
    return path.read_bytes()


def test_broken_tars(tar_bytes, tmp_path):
    tar = tmp_path / "cifar-10-binary.tar.gz"
    tar.write_bytes(tar_bytes)
    assert load("cifar10", tmp_path).train.images.max() == 0
    broken = {
        "a web page": b"<html>not found</html>",
        "nothing": b"",
        "half of it": tar_bytes[: len(tar_bytes) // 2],
        "all but the end": tar_bytes[:-5],
        "a wrong checksum": tar_bytes[:-8] + bytes([tar_bytes[-8] ^ 1]) + tar_bytes[-7:],
        "a changed byte": tar_bytes[:5000] + bytes([tar_bytes[5000] ^ 255]) + tar_bytes[5001:],
    }
    for what, contents in broken.items():
        tar.write_bytes(contents)
        try:
            load("cifar10", tmp_path)
        except DataError as error:
            assert str(tar) in str(error), what
        else:
            pytest.fail(f"{what} was taken for an archive")


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": ""},
        {"GNU.sparse.map": "1e5"},
        {"GNU.sparse.size": "9" * 30},
        {"GNU.sparse.realsize": "x" * 1000},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    ],
)
def test_a_tar_with_a_damaged_pax_header(tmp_path, headers):
    tar = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(tar, "w:gz", format=tarfile.PAX_FORMAT) as file:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.size, member.pax_headers = 5, headers
        file.addfile(member, io.BytesIO(b"12345"))
    with pytest.raises(DataError, match="found") as error:
        load("cifar10", tmp_path)
    assert len(str(error.value)) < 400


def test_a_tar_without_a_file_or_with_a_short_one(tmp_path):
    tar = tmp_path / "cifar-10-binary.tar.gz"
    write_tar(tar, {"cifar-10-batches-bin/data_batch_1.bin": bytes(30_730_000)})
    fails("cifar10", tmp_path, tar, "data_batch_2.bin", "is missing")
    write_tar(tar, {"cifar-10-batches-bin/data_batch_2.bin": bytes(1000)})
    fails("cifar10", tmp_path, tar, "data_batch_2.bin", "expected 30,730,000 bytes", "found 1,000")


def test_path_tricks_in_a_tar_lead_nowhere(tmp_path):
    secret = tmp_path / "outside.bin"
    secret.write_bytes(bytes(30_730_000))
    searched = tmp_path / "searched"
    searched.mkdir()
    folder = "cifar-10-batches-bin"
    write_tar(
        searched / "cifar-10-binary.tar.gz",
        {
            f"{folder}/data_batch_1.bin": str(secret),  # a link to a file that would do
            f"../{folder}/data_batch_2.bin": bytes(30_730_000),
            f"/{folder}/data_batch_3.bin": bytes(30_730_000),
            f"{folder}/../{folder}/data_batch_4.bin": bytes(30_730_000),
            f"../../{tmp_path.name}/harm": b"harm",
        },
    )
    fails("cifar10", searched, "data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin,", "is missing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.bin", "searched"]
    assert [path.name for path in searched.iterdir()] == ["cifar-10-binary.tar.gz"]


def test_a_folder_in_place_of_a_file(made_up, tmp_path):
    folder = link(tmp_path, "cifar-10-batches-bin", made_up, data_batch_1=None)
    (folder / "data_batch_1.bin").mkdir()
    fails("cifar10", tmp_path, folder, "data_batch_1.bin is missing")


@needs_data
@pytest.mark.data
def test_the_real_archives_are_in_canonical_order_and_fast(real):
    started = time.process_time()
    cifar10 = load("cifar10", real)
    assert time.process_time() - started < 3  # half a second; one Python call per image would take much longer
    assert cifar10.train.labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert cifar10.test.labels[:5].tolist() == [3, 8, 8, 0, 6]
    assert np.bincount(cifar10.train.labels).tolist() == [5_000] * 10
    assert cifar10.train.images[0, 0, 0].tolist() == [59, 62, 63]  # the first frog's corner
    names = (real / "cifar-10-batches-bin" / "batches.meta.txt").read_text().split()
    assert cifar10.class_names == tuple(names)


@needs_data
@pytest.mark.data
def test_the_real_cifar100(real):
    cifar100 = load("cifar100", real)
    assert cifar100.train.labels[:5].tolist() == [19, 29, 0, 11, 1]
    assert cifar100.train.coarse_labels[:5].tolist() == [11, 15, 4, 14, 1]
    assert np.bincount(cifar100.train.labels).tolist() == [500] * 100
    assert np.bincount(cifar100.test.coarse_labels).tolist() == [500] * 20
    folder = real / "cifar-100-binary"
    assert cifar100.class_names == tuple((folder / "fine_label_names.txt").read_text().split())
    assert cifar100.coarse_class_names == tuple((folder / "coarse_label_names.txt").read_text().split())
    # Five fine classes make one coarse class.
    assert len(set(zip(cifar100.train.labels.tolist(), cifar100.train.coarse_labels.tolist(), strict=True))) == 100


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.slow
def test_the_real_archive_as_pickles_gives_the_same_arrays(real, tmp_path, protocol):
    whole = load("cifar10", real)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, name in enumerate(FILES["cifar-10-batches-py"]):
        split, first = (whole.test, 0) if name == "test_batch" else (whole.train, 10_000 * number)
        part = slice(first, first + 10_000)
        contents = {b"data": planes(split.images[part]), b"labels": split.labels[part].tolist()}
        (folder / name).write_bytes(pickle.dumps(contents, protocol))
    pickled = load("cifar10", tmp_path)
    for ours, theirs in ((whole.train, pickled.train), (whole.test, pickled.test)):
        assert np.array_equal(ours.images, theirs.images) and np.array_equal(ours.labels, theirs.labels)


def test_records_other_than_the_published_are_named(made_up, tmp_path, caplog):
    link(tmp_path, "cifar-100-binary", made_up)
    load("cifar100", tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(": holds other images or labels than the published cifar100")[0] for line in lines] == [
        str(tmp_path / "cifar-100-binary" / name) for name in ("train.bin", "test.bin")
    ]


@needs_data
def test_a_flipped_bit_is_noticed(real, tmp_path, caplog):
    folder = real / "cifar-10-batches-bin"
    path = tmp_path / folder.name
    path.mkdir()
    for file in folder.glob("*.bin"):
        (path / file.name).symlink_to(file)
    load("cifar10", tmp_path)
    assert not caplog.records  # as published
    data = bytearray((folder / "data_batch_2.bin").read_bytes())
    data[1_000_000] ^= 4
    (path / "data_batch_2.bin").unlink()
    (path / "data_batch_2.bin").write_bytes(data)
    load("cifar10", tmp_path)
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [str(path / "data_batch_2.bin")]


def test_checksums_do_not_depend_on_the_order_of_records(monkeypatch):
    pixels, labels = planes(made_up_images(50, 1)), made_up_labels(50, 1, 10)
    records = [bytes([label]) + row.tobytes() for label, row in zip(labels, pixels, strict=True)]
    digests = sorted(hashlib.sha256(record).digest() for record in records)
    expected = {"cifar10": {"test_batch": hashlib.sha256(b"".join(digests)).hexdigest()}}
    monkeypatch.setattr(published_records, "CHECKSUMS", expected)
    order = np.random.RandomState(0).permutation(50)
    assert published_records.is_published("cifar10", "test_batch.bin", pixels[order], [labels[order]])
    assert not published_records.is_published("cifar10", "test_batch", pixels[order], [labels])


def test_an_enormous_label_is_one_line(made_up, tmp_path):
    labels = [0] * 9_999 + [10**5000]
    path = link(tmp_path, "cifar-10-batches-py", made_up, data_batch_1=batch(labels=labels))
    fails("cifar10", tmp_path, path / "data_batch_1", "found a number of 4153 hexadecimal digits in record 9,999")


@pytest.mark.parametrize("member", ["readme.html", "cifar-10-batches-bin/data_batch_1.bin", "after"])
def test_an_archive_that_expands_without_end(tmp_path, member):
    """A page of zeros, a batch of zeros, or zeros after the archive's end."""
    form = archives.FORMS[0]
    small = archives.Form(form.dataset, form.folder, form.tar, True, {"data_batch_1.bin": 1}, {"test_batch.bin": 1})
    path, zeros = tmp_path / form.tar, bytes(2**21)
    if member == "after":
        path.write_bytes(gzip.compress(zeros, 1))
    else:
        write_tar(path, {member: zeros})
    with pytest.raises(DataError, match="four times the length of the official archive|expected 3,073 bytes"):
        archives.read(small, path)
