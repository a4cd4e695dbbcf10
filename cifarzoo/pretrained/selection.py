"""From a tag, or a network, to the checked file of published weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from cifarzoo.checksum import sha256
from cifarzoo.errors import WeightsError
from cifarzoo.models.catalogue import identity
from cifarzoo.pretrained.description import Description, describe_entry
from cifarzoo.pretrained.files import find, weight_folders
from cifarzoo.pretrained.manifest import Published, find_entry, manifest


def weight_file(entry: Published) -> Path:
    """Return the path of a manifest entry's file, checked, and downloaded if necessary.

    Raises:
        WeightsError: the file is nowhere, or it is not the published one.
    """
    path = find(entry.file)
    if path is None and entry.url:
        path = _download(entry)
    if path is None:
        folders = ", ".join(map(str, weight_folders()))
        raise WeightsError(f"{entry.tag}: {entry.file} is in none of {folders}; put it there or set CIFARZOO_WEIGHTS")
    if (actual := sha256(path)) != entry.sha256:
        raise WeightsError(
            f"{path}: not the published file: sha256 {actual[:16]}... instead of {entry.sha256[:16]}...; delete it"
        )
    return path


def _download(entry: Published) -> Path:
    import keras

    try:
        path = keras.utils.get_file(entry.file, entry.url, file_hash=entry.sha256, cache_subdir="models/cifarzoo")
    except Exception as failure:  # get_file raises whatever the transport raised
        raise WeightsError(f"{entry.tag}: {entry.url} could not be downloaded ({failure})") from None
    return Path(path)


def select(factory: str, arguments: dict[str, Any], classes: int, requested: Literal[True] | str) -> Published:
    """Return the manifest entry that a factory's `load_weights` asks for.

    Args:
        factory: The factory's name.
        arguments: Its architecture arguments.
        classes: 10 and 100 ask for weights of CIFAR-10 and CIFAR-100; with any other number only the backbone counts.
        requested: True for the default entry, or a tag.

    Raises:
        WeightsError: there is none; the message lists what exists.
    """
    entries = manifest()
    network = identity(factory, arguments)
    if requested is True:
        fitting = [
            entry
            for entry in entries
            if entry.default and entry.identity == network and (entry.classes == classes or classes not in (10, 100))
        ]
        # Of two special cases of one network, that of the factory itself.
        fitting.sort(key=lambda entry: entry.model != factory)
    else:
        entry = find_entry(requested, entries)
        fitting = [entry] if entry and entry.identity == network else []
    if fitting:
        return fitting[0]
    asked = Description(factory=factory, arguments=arguments, classes=classes)
    problem = "no published weights" if requested is True else f"no weights {requested!r}"
    same_factory = [entry for entry in entries if entry.identity[0] == network[0]]
    raise WeightsError(
        f"{asked}: {problem}; for {factory} there is {_listing(same_factory)}"
        + ("" if same_factory else f"; for other models {_listing(entries)}")
    )


def _listing(entries: Sequence[Published]) -> str:
    return "; ".join(f"{entry.tag} ({describe_entry(entry)})" for entry in entries) or "nothing yet"
