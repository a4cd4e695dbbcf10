"""The manifest: one entry per published weight file. Reading it costs no Keras."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifarzoo.errors import WeightsError
from cifarzoo.models.catalogue import identity
from cifarzoo.pretrained.files import weight_folders
from cifarzoo.typed_record import check_types


@dataclass(frozen=True)
class Published:
    """One entry of the manifest.

    Attributes:
        tag: Unique name; the file is `tag + ".weights.h5"`.
        model: Name of the factory.
        architecture: The factory's arguments at the time of publication, defaults filled in.
        classes: Number of outputs.
        dataset: The training data, whose statistics normalize the input.
        default: Whether `load_weights=True` loads this file.
        chosen: Whether a person made it the default, which the order of recipes does not override.
        sha256: Hash of the file, hexadecimal.
        bytes: Size of the file.
        parameters: Number of parameters, including BatchNormalization's moving statistics.
        macs: Multiply-accumulates per image.
        preprocessing: `mean` and `std` on the scale 0-255, R, G, B.
        metrics: Measured from the file on all test images: n, error, top5_error (percent), nll, brier, ece.
        training: Experiment, seed, steps, seconds, device, versions, revision.
        url: Download address, if any.
        license: License of the weights.
        remark: What a reader of the error must know, if anything.
        aliases: Further tags of the same file.
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
    aliases: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Name of the weight file."""
        return f"{self.tag}.weights.h5"

    @property
    def golden(self) -> str:
        """Name of the file with a few images and their logits."""
        return f"{self.tag}.golden.npz"

    @property
    def identity(self) -> tuple[str, dict[str, Any]]:
        """The network; entries with equal identities fit the same models. See `catalogue.identity`."""
        return identity(self.model, self.architecture)


def manifest_path() -> Path:
    """Return the path of the manifest of the installed package or of the checkout.

    Raises:
        WeightsError: there is none.
    """
    for folder in weight_folders():
        if (folder / "manifest.json").is_file():
            return folder / "manifest.json"
    raise WeightsError(f"manifest.json is in none of {', '.join(map(str, weight_folders()))}; reinstall cifarzoo")


def manifest() -> list[Published]:
    """Return the entries of all published weight files."""
    return read_manifest(manifest_path())


def read_manifest(path: Path) -> list[Published]:
    """Read the entries of a manifest file.

    Raises:
        WeightsError: the file cannot be read or is not a manifest.
    """
    try:
        entries = [_entry(document) for document in json.loads(path.read_text(encoding="utf-8"))]
        for entry in entries:
            check_types(entry)
            _check_contents(entry)
        return entries
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as failure:
        raise WeightsError(f"{path}: not a manifest of this version of cifarzoo ({failure!s:.300})") from None


def _entry(document: Any) -> Published:
    if not isinstance(document, dict):
        raise TypeError(f"an entry is {document!r:.80}")
    return Published(**document | {"aliases": tuple(document.get("aliases", ()))})


def _check_contents(entry: Published) -> None:
    """Raise ValueError unless an entry has the values that every list of published files shows."""
    if "error" not in entry.metrics:
        raise ValueError(f"{entry.tag}: metrics.error is missing")
    if not isinstance(versions := entry.training.get("versions", {}), dict):
        raise ValueError(f"{entry.tag}: training.versions is a mapping, got {versions!r:.80}")


def find_entry(tag: str, entries: list[Published]) -> Published | None:
    """Return the entry with this tag or alias, or None."""
    by_alias = {alias: entry for entry in entries for alias in entry.aliases}
    return {entry.tag: entry for entry in entries}.get(tag, by_alias.get(tag))
