"""Published weights: the manifest, where a file comes from, its hash.

A file is looked for in `$CIFARZOO_WEIGHTS`, in the checkout's or the installed package's weights folder, and then
downloaded into Keras' cache if its manifest entry has an address. Its SHA-256 is always checked.
"""

import functools
import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifarzoo.errors import WeightsError

logger = logging.getLogger("cifarzoo")


@dataclass(frozen=True)
class Published:
    """One entry of the manifest.

    Attributes:
        tag: Unique name; the file is `tag + ".weights.h5"`.
        model: The factory.
        architecture: The factory's own arguments, defaults filled in.
        classes: Number of outputs.
        dataset: What it was trained on, and whose statistics normalise its input.
        default: Whether `load_weights=True` means this one.
        chosen: Whether it is that by a person's decision, which the order of recipes does not undo.
        sha256, bytes: Of the file.
        parameters: Including BatchNormalization's moving statistics.
        macs: Multiply-accumulates of one image.
        preprocessing: `mean` and `std` on the scale 0-255, R, G, B.
        metrics: On all test images, measured from the file: n, error, top5_error (percent), nll, brier, ece.
        training: Experiment, seed, steps, seconds, device, versions, revision.
        url: Where it can be downloaded, if anywhere.
        license: Of the weights.
        remark: What a reader of the error must know, if anything.
    """

    tag: str
    model: str
    architecture: dict[str, Any]
    classes: int
    dataset: str
    default: bool
    sha256: str
    bytes: int
    parameters: int
    macs: int
    preprocessing: dict[str, list[float]]
    metrics: dict[str, float]
    training: dict[str, Any] = field(repr=False)
    url: str | None = None
    license: str = "MIT"
    remark: str = ""
    chosen: bool = False

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.tag}.weights.h5"

    @property
    def golden(self) -> str:
        """The name of the file with a few images and their logits."""
        return f"{self.tag}.golden.npz"


def weight_folders() -> list[Path]:
    """Folders that may hold weight files, in the order they are searched."""
    package = Path(__file__).resolve().parent.parent
    given = os.environ.get("CIFARZOO_WEIGHTS")
    folders = [Path(given).expanduser()] if given else []
    return folders + [package / "weights", package.parent / "weights"]


def manifest_path() -> Path:
    """The manifest of the installed package or of the checkout.

    Raises:
        WeightsError: neither has one.
    """
    for folder in weight_folders():
        if (folder / "manifest.json").is_file():
            return folder / "manifest.json"
    raise WeightsError(f"manifest.json is in none of {', '.join(map(str, weight_folders()))}; install cifarzoo anew")


def manifest() -> list[Published]:
    """Every published weight file."""
    return read_manifest(manifest_path())


def read_manifest(path: Path) -> list[Published]:
    """The entries of a manifest file.

    Raises:
        WeightsError: it cannot be read, or is no manifest.
    """
    try:
        return [Published(**entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as failure:
        raise WeightsError(f"{path}: not a manifest of this version of cifarzoo ({failure})") from None


def find(name: str) -> Path | None:
    """The path of a file of the weights folders, or None."""
    for folder in weight_folders():
        for candidate in (folder / name, folder / "large" / name):
            if candidate.is_file():
                return candidate
    return None


@functools.lru_cache(maxsize=64)
def _sha256(path, size, modified):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


def weight_file(entry: Published) -> Path:
    """The checked file of a manifest entry, downloaded if need be.

    Raises:
        WeightsError: it is nowhere, or its bytes are not those that were published.
    """
    path = find(entry.file)
    if path is None and entry.url:
        import keras

        try:
            path = Path(
                keras.utils.get_file(entry.file, entry.url, file_hash=entry.sha256, cache_subdir="models/cifarzoo")
            )
        except Exception as failure:  # get_file raises whatever the transport raised
            raise WeightsError(f"{entry.tag}: {entry.url} could not be downloaded ({failure})") from None
    if path is None:
        folders = ", ".join(map(str, weight_folders()))
        raise WeightsError(f"{entry.tag}: {entry.file} is in none of {folders}; put it there or set CIFARZOO_WEIGHTS")
    if (found := sha256(path)) != entry.sha256:
        raise WeightsError(
            f"{path}: not the published file: sha256 {found[:16]}... instead of {entry.sha256[:16]}...; delete it"
        )
    return path


def load_file(model, path: Path) -> None:
    """Load a `.weights.h5` file into a model of the same architecture.

    Raises:
        WeightsError: no such file, not such a file, or made for another model.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file")
    if not path.name.endswith((".weights.h5", ".keras")):
        raise WeightsError(f"{path}: a weight file's name ends with .weights.h5")
    try:
        model.load_weights(path)
    except Exception as failure:  # h5py and Keras raise OSError, ValueError, KeyError and others
        reason = next((line.strip() for line in str(failure).splitlines() if line.strip()), type(failure).__name__)
        raise WeightsError(f"{path}: does not fit {model.name} ({reason:.200})") from None


def _listing(entries):
    return "; ".join(f"{e.tag} ({_arguments(e)})" for e in entries) or "nothing yet"


def _arguments(entry):
    shown = [f"{key}={value!r}" for key, value in entry.architecture.items()]
    return f"{entry.model}({', '.join([*shown, f'classes={entry.classes}'])})"


def select(model: str, architecture: dict, classes: int, wanted: bool | str) -> Published:
    """The manifest entry that a factory's `load_weights` asks for.

    Args:
        model: The factory's name.
        architecture: Its own arguments, defaults filled in.
        classes: 10 and 100 ask for weights of CIFAR-10 and CIFAR-100; with any other number only the backbone counts.
        wanted: True for the default entry, or a tag.

    Raises:
        WeightsError: there is none; the message lists what exists.
    """
    everything = manifest()
    same = [e for e in everything if e.model == model and e.architecture == architecture]
    if wanted is True:
        fitting = [e for e in same if e.default and (e.classes == classes or classes not in (10, 100))]
    else:
        fitting = [e for e in same if e.tag == wanted]
    if fitting:
        return fitting[0]
    shown = ", ".join(f"{k}={v!r}" for k, v in architecture.items())
    asked = f"{model}({', '.join([s for s in (shown, f'classes={classes}') if s])})"
    what = "no published weights" if wanted is True else f"no weights {wanted!r}"
    of_model = [e for e in everything if e.model == model]
    raise WeightsError(
        f"{asked}: {what}; for {model} there is {_listing(of_model)}"
        + ("" if of_model else f"; for other models {_listing(everything)}")
    )


def load_pretrained(registered, arguments: dict, wanted: bool | str, build):
    """A factory's model with weights: what `load_weights` does.

    Args:
        registered: The factory's registry entry.
        arguments: The factory's arguments without `load_weights` and `name`.
        wanted: True, a tag, or a path.
        build: A function that builds the model; keyword arguments override the factory's.

    Returns:
        The model. With another number of classes than the file, or without top, only the backbone is the file's.

    Raises:
        WeightsError: as `select`, `weight_file` and `load_file`.
    """
    if not isinstance(wanted, (bool, str, os.PathLike)):
        raise WeightsError(f"{registered.name}: load_weights is False, True, a tag or a path, got {wanted!r}")
    if wanted is not True and str(wanted).endswith((".h5", ".keras")):
        model = build()
        load_file(model, Path(wanted).expanduser())
        return model
    classes, include_top = arguments["classes"], arguments["include_top"]
    entry = select(registered.name, registered.architecture(arguments), classes, wanted)
    path = weight_file(entry)
    model = build(statistics=entry.dataset)
    if include_top and classes == entry.classes:
        load_file(model, path)
        return model
    whole = build(statistics=entry.dataset, classes=entry.classes, include_top=True)
    load_file(whole, path)
    copy_backbone(whole, model)
    if include_top:
        logger.warning(
            "%s: backbone from %s (%d classes), fresh classifier for %d classes",
            model.name,
            entry.tag,
            entry.classes,
            classes,
        )
    return model


def copy_backbone(source, target) -> None:
    """Copy the weights of every layer but the classifier, by layer name."""
    for layer in target.layers:
        if layer.weights and layer.name != "logits":
            layer.set_weights(source.get_layer(layer.name).get_weights())
