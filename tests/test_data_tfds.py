import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_archives import needs_data

from cifarzoo.data import load
from cifarzoo.errors import DataError

TARS = {"cifar-10-batches-bin": "cifar-10-binary.tar.gz", "cifar-100-binary": "cifar-100-binary.tar.gz"}


@pytest.fixture
def real():
    """The archives' folder; request it before `nowhere`, which hides the variable."""
    return Path(os.environ["CIFARZOO_DATA"])


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Hide all archives, give TFDS an empty folder, and refuse every network connection."""
    monkeypatch.delenv("CIFARZOO_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def check_message(message, nowhere):
    assert str(nowhere / "keras" / "datasets") in message  # where we looked
    for word in ("cifar-10-batches-bin/", "cifar-10-python.tar.gz", "CIFARZOO_DATA", "'synthetic'"):
        assert word in message
    assert "\n" not in message


def test_without_a_network_one_error_explains_everything(nowhere, monkeypatch):
    monkeypatch.setenv("CIFARZOO_DATA", str(nowhere / "mine"))
    with pytest.raises(DataError, match="cifar-10-binary.tar.gz cannot be reached") as raised:
        load("cifar10")
    check_message(str(raised.value), nowhere)
    assert str(nowhere / "mine") in str(raised.value)


def test_without_tfds(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # as if it were not installed
    with pytest.raises(DataError, match="tensorflow_datasets") as raised:
        load("cifar10")
    check_message(str(raised.value), nowhere)


def test_a_named_folder_is_the_only_one_searched(nowhere, monkeypatch):
    """Nothing is downloaded when the user named a folder."""
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match="no cifar100 archive in .*/given; expected one of") as raised:
        load("cifar100", nowhere / "given")
    assert "tensorflow_datasets" not in str(raised.value)


@needs_data
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-bin"), ("cifar100", "cifar-100-binary")])
def test_tfds_prepares_the_same_arrays(real, nowhere, name, folder):
    """Run TFDS's own builder; its download cache holds an archive under the checksum that it expects.

    The archive's real checksum differs, because gzip can pack the same files in many ways.
    """
    from tensorflow_datasets.core.download import checksums, resource

    (url,) = [url for url in checksums.get_all_url_infos() if url.endswith(f"/{TARS[folder]}")]
    info = checksums.get_all_url_infos()[url]
    cached = nowhere / "tfds" / "downloads" / name / resource.get_dl_fname(url, info.checksum)
    cached.parent.mkdir(parents=True)
    with tarfile.open(cached, "w:gz", compresslevel=1) as tar:
        tar.add(real / folder, arcname=folder)
    resource.write_info_file(url, cached, name, TARS[folder], info)

    expected = load(name, real)
    first = load(name)
    shutil.rmtree(nowhere / "tfds" / "downloads")
    again = load(name)  # from what TFDS has prepared, no archive needed
    for prepared in (first, again):
        for split, other in ((prepared.train, expected.train), (prepared.test, expected.test)):
            for ours, theirs in ((split.images, other.images), (split.labels, other.labels)):
                assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
            if name == "cifar100":
                assert np.array_equal(split.coarse_labels, other.coarse_labels)
