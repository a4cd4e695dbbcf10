"""The images on which an exported file is compared with its model, and those that calibrate int8."""

from dataclasses import dataclass

import numpy as np

from cifarzoo.data import Dataset, load
from cifarzoo.data.archives import find, search_folders
from cifarzoo.data.own_data import OwnData
from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.evaluation.fit import check_fits
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.evaluation.measured_data import data_of

CALIBRATION_IMAGES = 500


@dataclass(frozen=True)
class TestImages:
    """Images for one model.

    Attributes:
        name: The data set they are from.
        images: Test images, uint8 [n, height, width, 3].
        labels: Their labels [n]; None if the model is for another data set, or nobody knows for which.
        calibration: Training images, uint8 [500, height, width, 3], every k-th of all.
        replaces: The data set for which the embedded images stand in; "" if they do not.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None
    calibration: np.ndarray
    replaces: str = ""


def images_for(loaded: LoadedModel, choice: str | None = None, data_dir: str | None = None) -> TestImages:
    """Return the images of the data set that a model was trained on, or of another one.

    Where the user chose nothing and the data set is not on this machine, the embedded images stand in, and nothing is
    downloaded.

    Raises:
        DataError: the chosen data set cannot be read, has images of another size than the model takes, or should be
            the one that the model is for and has other classes.
    """
    if choice is not None or data_dir is not None:
        dataset = load(data_of(loaded, choice), data_dir)
        has_its_labels = dataset.name == loaded.dataset or (
            loaded.is_guess and dataset.classes == loaded.model.output_shape[-1]
        )
        return _of(dataset, loaded, has_its_labels)
    data = data_of(loaded, None)
    if isinstance(data, OwnData) or _is_here(data):
        try:
            dataset = load(data)
        except CifarzooError:
            if not isinstance(data, OwnData):
                raise
        else:
            return _of(dataset, loaded, not loaded.is_guess)
    return _of(load("synthetic"), loaded, False, loaded.dataset)


def _is_here(name: str) -> bool:
    """Whether a data set can be read without a download: it is built in or in an archive."""
    if name == "synthetic":
        return True
    archive = name.removesuffix("_coarse")
    return any(find(archive, folder) for folder in search_folders(None))


def _of(dataset: Dataset, loaded: LoadedModel, has_its_labels: bool, replaces: str = "") -> TestImages:
    train, test = dataset.train.images, dataset.test
    step = max(1, len(train) // CALIBRATION_IMAGES)
    calibration = train[::step][:CALIBRATION_IMAGES]
    height, width = loaded.model.input_shape[1:3]
    images = test.images
    if replaces and height and width and images.shape[1:3] != (height, width):
        calibration, images = (_resized(some, height, width) for some in (calibration, images))
    if has_its_labels:
        check_fits(loaded, dataset)
    elif images.shape[1] != (height or images.shape[1]) or images.shape[2] != (width or images.shape[2]):
        raise DataError(
            f"{loaded.name}: takes images of {height} x {width} pixels, those of {dataset.name} have "
            f"{images.shape[1]} x {images.shape[2]}"
        )
    return TestImages(dataset.name, images, test.labels if has_its_labels else None, calibration, replaces)


def _resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return images of another size, each pixel the nearest one."""
    rows, columns = np.arange(height) * images.shape[1] // height, np.arange(width) * images.shape[2] // width
    return images[:, rows][:, :, columns]
