"""Load CIFAR through TensorFlow Datasets (TFDS), which downloads, verifies and prepares it, in canonical order."""

import os
from typing import Any

import numpy as np

from cifarzoo.data.archives import CLASSES, Records
from cifarzoo.data.splits import IMAGES
from cifarzoo.errors import DataError

ARCHIVES = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}
FEATURES = {"label": "label", "fine label": "label", "coarse label": "coarse_label"}


def read(dataset: str) -> tuple[Records, Records]:
    """Return the training and test split of "cifar10" or "cifar100", prepared in `$TFDS_DATA_DIR` or TFDS's own folder.

    TFDS shuffles the records; its feature `id` ("train_00000", "train_00001", ...) numbers them as in the binary
    archive, which restores their order.

    Raises:
        DataError: TFDS is not installed, cannot download, or returns other records than the archive's.
    """
    try:
        import tensorflow_datasets as tfds

        # Passed explicitly, because TFDS reads the variable only once, on import.
        builder = tfds.builder(dataset, data_dir=os.environ.get("TFDS_DATA_DIR"))
        if not builder.is_prepared():
            _check_network(builder)
            builder.download_and_prepare()
        return _split(tfds, builder, "train"), _split(tfds, builder, "test")
    except DataError:
        raise
    except Exception as error:  # anything from ImportError through network failures to a full disk
        first_line = (str(error).splitlines() or [""])[0]
        raise DataError(f"{type(error).__name__}: {first_line[:200]}") from error


def _check_network(builder: Any) -> None:
    """Check once that the archive is reachable: without a network, TFDS would retry for more than three minutes."""
    archive = ARCHIVES[builder.name]
    downloads = builder.data_dir_root / "downloads"
    # A finished download has the archive's name with the checksum before the extension.
    pattern = f"*{archive.removesuffix('.tar.gz')}*.tar.gz"
    if any(any(folder.glob(pattern)) for folder in (downloads / builder.name, downloads)):
        return
    import requests  # which TFDS uses for downloads

    url = f"https://www.cs.toronto.edu/~kriz/{archive}"
    try:
        requests.head(url, timeout=20).close()
    except requests.RequestException as error:
        raise DataError(f"{url} cannot be reached: {type(error).__name__}") from error


def _split(tfds: Any, builder: Any, split: str) -> Records:
    size = IMAGES[split]
    images = np.empty((size, 32, 32, 3), np.uint8)
    labels = {kind: np.empty(size, np.int32) for kind in CLASSES[builder.name]}
    seen = np.zeros(size, bool)
    for batch in tfds.as_numpy(builder.as_dataset(split=split, batch_size=1000)):
        numbers = np.array([_record_number(identifier, split, size) for identifier in batch["id"]])
        seen[numbers] = True
        images[numbers] = batch["image"]
        for kind, values in labels.items():
            values[numbers] = batch[FEATURES[kind]]
    if not seen.all():
        raise DataError(f"{builder.data_dir}: expected {size:,} records in '{split}', found {seen.sum():,}")
    return Records(images, labels)


def _record_number(identifier: bytes, split: str, size: int) -> int:
    """Return the number in an identifier such as `b"train_00001"`."""
    prefix, _, number = identifier.decode().partition("_")
    if prefix != split or not number.isdecimal() or int(number) >= size:
        raise DataError(
            f"expected TFDS's ids to be {split}_00000 to {split}_{size - 1:05d}, found {identifier.decode()}"
        )
    return int(number)
