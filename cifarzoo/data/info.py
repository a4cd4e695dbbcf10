"""What is known about a data set without its arrays: names, sizes, and what networks have to know of its images."""

from dataclasses import dataclass

from cifarzoo.data.classes import CLASS_NAMES, classes_of
from cifarzoo.data.splits import IMAGES
from cifarzoo.data.statistics import mean_color
from cifarzoo.data.subsets import is_subset, parse
from cifarzoo.errors import DataError

SYNTHETIC_IMAGES = {"train": 10_000, "test": 2_000, "train45k": 9_000, "validation": 1_000}


@dataclass(frozen=True)
class Inputs:
    """What a network has to know about the images of a data set.

    Attributes:
        size: Their height and width in pixels.
        statistics: Mean and standard deviation of the training images, {"mean": [r, g, b], "std": [r, g, b]} on 0-255;
            None for a built-in data set, whose statistics factories know by the number of classes.
    """

    size: int = 32
    statistics: dict[str, list[float]] | None = None


CIFAR_INPUTS = Inputs()


@dataclass(frozen=True)
class DatasetInfo:
    """The sizes of a data set, which are known without its arrays.

    Attributes:
        name: "cifar10", "cifar100", "cifar100_coarse" or "synthetic".
        classes: Number of (fine) classes.
        images: Images per split.
        inputs: What a network has to know about the images.
    """

    name: str
    classes: int
    images: dict[str, int]
    inputs: Inputs = CIFAR_INPUTS

    def size(self, split: str) -> int:
        """Return the number of images of a split; of a part, if all classes are equally frequent."""
        if split in self.images or not is_subset(split):
            return self.images[split]
        subset = parse(split)
        return subset.size(self.images[subset.base], self.classes)

    @property
    def mean_color(self) -> tuple[int, int, int]:
        """The mean color of the training images, rounded to whole pixel values."""
        return mean_color(self.name)


def info(name: str) -> DatasetInfo:
    """Return the sizes of a built-in data set without loading it.

    Raises:
        DataError: an unknown name.
    """
    check_name(name)
    return DatasetInfo(name, classes_of(name), SYNTHETIC_IMAGES if name == "synthetic" else IMAGES)


def check_name(name: str) -> None:
    """Raise DataError unless a built-in data set has this name."""
    if name not in CLASS_NAMES:
        raise DataError(
            f"data set {name!r} does not exist; the data sets are {', '.join(CLASS_NAMES)}. Of images of your own, "
            "name the folder or .npz file (--dataset FOLDER). Arrays that were passed to cifarzoo.train exist only in "
            "Python: predict them with cifarzoo.load(FILE)"
        )
