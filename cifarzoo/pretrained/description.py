"""What a weight file says about itself.

Every weight file that cifarzoo writes holds a `Description` in the attribute "cifarzoo" of its HDF5 root, as JSON. The
published files that are older have their description in the manifest, where they are found by hash.
"""

import json
import math
import os
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarzoo._version import __version__
from cifarzoo.checksum import sha256
from cifarzoo.errors import WeightsError
from cifarzoo.models.catalogue import call, identity
from cifarzoo.pretrained.hdf5 import open_bounded
from cifarzoo.pretrained.manifest import Published, manifest
from cifarzoo.runs import atomic
from cifarzoo.typed_record import check_types

if TYPE_CHECKING:
    import keras

ATTRIBUTE = "cifarzoo"


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model, and the data its weights were trained on.

    Attributes:
        factory: Name of the factory, or None for a model that is not the zoo's.
        arguments: The factory's arguments, defaults filled in, including those that only affect training; and
            `image_size`, unless it is 32.
        module: Module of a user's own factory, as in an experiment; `factory` is None then.
        function: Name of a user's own factory in `module`, or of a model that was trained from Python.
        classes: Number of outputs, or None without top.
        activation: Activation after the logits, or None.
        statistics: Mean and standard deviation that normalize the input inside the model, by name or value: see
            `data.statistics.statistics_from`. None if the model normalizes nothing.
        dataset: Name of the training data, or None if unknown.
        train_split: The split that was trained on, "train" or "train45k", or None if unknown.
        class_names: What the outputs mean, in order, where the training data are not a built-in data set.
        source: Where converted weights come from, in words or as facts by name, or None for weights that cifarzoo
            trained.
        version: The cifarzoo version that wrote the file.
    """

    factory: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    module: str | None = None
    function: str | None = None
    classes: int | None = None
    activation: str | None = None
    statistics: str | dict[str, list[float]] | None = None
    dataset: str | None = None
    train_split: str | None = None
    class_names: list[str] | None = None
    source: str | dict[str, Any] | None = None
    version: str = __version__

    @property
    def facts(self) -> dict[str, Any]:
        """The facts about the source of converted weights; empty if there are none."""
        return self.source if isinstance(self.source, dict) else {}

    @property
    def identity(self) -> tuple[str, dict[str, Any]] | None:
        """The zoo's network, without its head: see `catalogue.identity`. None for any other network."""
        return None if self.factory is None else identity(self.factory, self.arguments)

    @property
    def image_size(self) -> int:
        """Height and width of the zoo's network's images."""
        return self.arguments.get("image_size", 32)

    def arguments_of(self, factory: str, names: Collection[str]) -> dict[str, Any]:
        """Return the file's values of a factory's arguments; the factory may be more or less general than the file's.

        Args:
            factory: The factory. If it builds other networks, the result is empty.
            names: Names of its architecture arguments to return, and perhaps "classes" and "image_size".
        """
        network = self.identity
        if network is None or network[0] != identity(factory, {})[0]:
            return {}
        values = network[1] | self.arguments
        if self.classes is not None:
            values["classes"] = self.classes
        return {name: values[name] for name in names if name in values}

    def __str__(self) -> str:
        """Return the call that builds the model."""
        arguments = self.arguments
        if self.classes is not None:
            arguments = arguments | {"classes": self.classes}
        if self.activation is not None:
            arguments = arguments | {"classifier_activation": self.activation}
        own = f"{self.module}.{self.function}" if self.module else self.function
        name = self.factory or own or "unknown_model"
        return call(name, arguments)


# Builds the model of a description with fresh weights: `registry.build_described`. The registry imports this package
# and `conversion`, so both take the function as an argument.
Build = Callable[[Description], "keras.Model"]


def describe_entry(entry: Published) -> Description:
    """Return the description of a published file, from its manifest entry."""
    return Description(
        factory=entry.model,
        arguments=entry.architecture,
        classes=entry.classes,
        statistics=statistics_of(entry.dataset),
        dataset=entry.dataset,
        train_split=entry.training.get("experiment", {}).get("train_split"),
        version=entry.training.get("versions", {}).get("cifarzoo", "unknown"),
    )


def statistics_of(dataset: str) -> str:
    """Return the data set whose statistics normalize the images of `dataset`: its own, or CIFAR-10's."""
    return "cifar100" if dataset in ("cifar100", "cifar100_coarse") else "cifar10"


def attach_description(model: "keras.Model", description: Description) -> None:
    """Attach a description to a Keras model, as factories do with the models that they build."""
    model.cifarzoo_description = description


def attach_training_data(model: "keras.Model", loaded: Description | None) -> None:
    """Note in a model's description what the weights that it got were trained on, if the classifier is among them."""
    own = description_of(model)
    if own and loaded and own.classes is not None and own.classes == loaded.classes:
        data = {"dataset": loaded.dataset, "train_split": loaded.train_split, "class_names": loaded.class_names}
        attach_description(model, replace(own, **data))  # type: ignore[arg-type]


def description_of(model: "keras.Model") -> Description | None:
    """Return the description that a factory attached to its model, or None for any other model."""
    return getattr(model, "cifarzoo_description", None)


def save_weights(model: "keras.Model", path: str | os.PathLike, description: Description | None = None) -> None:
    """Write the weights of a Keras model, with a description, to a `.weights.h5` file.

    The file appears under its name only when it is complete and on the disk.

    Args:
        model: The Keras model.
        path: Name ending in `.weights.h5`; an existing file is replaced.
        description: What the file is to say about itself; by default what the model's factory said about the model.

    Raises:
        WeightsError: the name has another ending.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(".weights.h5"):
        raise WeightsError(f"{path}: the name of a weight file ends in .weights.h5")
    with atomic.replacing(path, shared=True) as temporary:
        _reserve(temporary, model)
        model.save_weights(temporary)
        write_description(temporary, description or description_of(model) or Description())


def _reserve(path: Path, model: "keras.Model") -> None:
    """Write as many zeros as the file will need: a full disk then gives the system's message instead of HDF5's."""
    # The weights in float32, plus HDF5's groups and names.
    size = sum(4 * math.prod(weight.shape) + 2048 for weight in model.weights)
    with open(path, "wb") as file:
        file.writelines(bytes(min(2**20, size - first)) for first in range(0, size, 2**20))


def write_description(path: Path, description: Description) -> None:
    """Put a description into an existing HDF5 file, in place of any earlier one."""
    import h5py  # here, because listing models imports this module and must not import NumPy

    with h5py.File(path, "r+") as file:
        file.attrs[ATTRIBUTE] = json.dumps(asdict(description))


def read_description(path: str | os.PathLike) -> Description | None:
    """Read the description of a `.weights.h5` file.

    Returns:
        What the file's attributes say; else what the manifest says about a published file with the same SHA-256; else
        None.

    Raises:
        WeightsError: there is no such file, or it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file")
    with open_bounded(path) as (file, _):
        text = file.attrs.get(ATTRIBUTE)
    if text is not None:
        return _parse(path, text)
    by_hash = {entry.sha256: entry for entry in manifest()}
    entry = by_hash.get(sha256(path))
    return None if entry is None else describe_entry(entry)


def _parse(path: str | os.PathLike, text: str) -> Description:
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise TypeError(f"got {document!r:.80}")
        # A newer version may say more.
        description = Description(**{f.name: document[f.name] for f in fields(Description) if f.name in document})
        check_types(description)
        return description
    except (ValueError, TypeError, RecursionError) as failure:
        raise WeightsError(f"{path}: the attribute {ATTRIBUTE!r} is not a description ({failure!s:.200})") from None
