"""Find the weight file for a tag, a path or a network, check it, and read its description."""

import difflib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cifarzoo.checksum import sha256
from cifarzoo.conversion.entries import Entry, File
from cifarzoo.conversion.entries import entries as foreign_entries
from cifarzoo.conversion.entries import find as find_foreign
from cifarzoo.errors import WeightsError
from cifarzoo.models.catalogue import identity
from cifarzoo.pretrained.description import Build, Description, describe_entry, read_description
from cifarzoo.pretrained.files import find, weight_folders
from cifarzoo.pretrained.manifest import Published, find_entry, manifest

logger = logging.getLogger("cifarzoo")


@dataclass(frozen=True)
class Source:
    """A weight file.

    Attributes:
        origin: The tag, the name of another project's checkpoint or the path, for messages.
        path: The file.
        description: The file's description; None if it has none, and for a `.keras` file.
    """

    origin: str
    path: Path
    description: Description | None


def find_source(
    factory: str, arguments: dict[str, Any], classes: int, requested: bool | str | os.PathLike, build: Build
) -> Source:
    """Return the file that a factory's `load_weights` asks for.

    Args:
        factory: The factory's name.
        arguments: Its architecture arguments, for the default file.
        classes: The number of classes, for the default file.
        requested: True for the default file of this network, a tag, the name of another project's checkpoint, or a
            path.
        build: Builds the model of a description, to convert another project's checkpoint into.

    Raises:
        WeightsError: there is no such file, or it is damaged.
    """
    if requested is True:
        return _source_of(select(factory, arguments, classes, True))
    if not isinstance(requested, (str, os.PathLike)):
        raise WeightsError(f"{factory}: load_weights is False, True, a tag or a path, got {requested!r}")
    if is_weight_path(requested):
        return source_at(Path(requested).expanduser())
    if foreign := foreign_entry(str(requested)):
        return _converted(foreign, build)
    entry = find_entry(str(requested), manifest())
    return _source_of(entry or select(factory, arguments, classes, str(requested)))


def source_named(name: str | os.PathLike, build: Build) -> Source:
    """Return the file of a tag, of another project's checkpoint, or at a path.

    Args:
        name: The tag, name or path.
        build: Builds the model of a description, to convert another project's checkpoint into.

    Raises:
        WeightsError: there is no such file, or it is damaged.
    """
    if is_weight_path(name):
        return source_at(Path(name).expanduser())
    if foreign := foreign_entry(str(name)):
        return _converted(foreign, build)
    entries = manifest()
    if entry := find_entry(str(name), entries):
        return _source_of(entry)
    raise WeightsError(
        f"{name}: neither a .weights.h5 or .keras file nor published weights; there are "
        f"{', '.join(entry.tag for entry in _nearest(entries, str(name)))}; `cifarzoo list --pretrained` shows all"
    )


def foreign_entry(name: str) -> Entry | None:
    """Return the entry of another project's checkpoint, or None if the name does not begin with a project's.

    Raises:
        WeightsError: the project has no checkpoint of this name; the message has the nearest. Or it is the project's.
    """
    source, _, _ = name.partition("/")
    if source.lower() not in {entry.source.lower() for entry in foreign_entries().values()}:
        return None
    return find_foreign(name)


def _converted(entry: Entry, build: Build) -> Source:
    from cifarzoo.conversion.cache import weight_file as converted_file  # here, because it imports NumPy

    path = converted_file(entry, build)
    description = read_description(path)
    if entry.hashed == "no" and description is not None and description.facts:
        logger.warning("%s: not verified: %s", entry.name, str(description.facts.get("verified")).removeprefix("no: "))
    return Source(entry.name, path, description)


def _source_of(entry: Published) -> Source:
    return Source(entry.tag, weight_file(entry), describe_entry(entry))


def source_at(path: Path) -> Source:
    """Return the source of a `.weights.h5` or `.keras` file.

    Raises:
        WeightsError: the file does not exist, is damaged, or is of another kind.
    """
    if path.name.endswith(".keras"):
        return Source(str(path), path, None)
    if not path.name.endswith(".weights.h5"):
        raise WeightsError(f"{path}: the name of a weight file ends in .weights.h5 or .keras")
    return Source(str(path), path, read_description(path))


def is_weight_path(name: str | os.PathLike) -> bool:
    """Whether a name is a file's, not a tag."""
    return str(name).endswith((".h5", ".keras"))


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
    from cifarzoo.conversion.cache import cache_folder  # here, because it imports NumPy
    from cifarzoo.conversion.download import fetch

    file = File(str(entry.url), "keras", {"sha256": entry.sha256}, entry.bytes)
    try:
        return fetch(file, cache_folder())
    except WeightsError as failure:
        raise WeightsError(f"{entry.tag}: {failure}") from None


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
        # If two special cases build the same network, prefer the requested factory.
        fitting.sort(key=lambda entry: entry.model != factory)
    else:
        entry = find_entry(requested, entries)
        fitting = [entry] if entry and entry.identity == network else []
    if fitting:
        return fitting[0]
    asked = Description(factory=factory, arguments=arguments, classes=classes)
    problem = "no published weights" if requested is True else f"no weights {requested!r}"
    name = factory if requested is True else requested
    # A general factory builds the networks of its special cases, but cifar_resnet32 none of cifar_resnet20.
    same_factory = _nearest([entry for entry in entries if factory in (entry.model, entry.identity[0])], name)
    raise WeightsError(
        f"{asked}: {problem}; for {factory} there is {_listing(same_factory)}"
        + ("" if same_factory else f"; for other models {_listing(_nearest(entries, name))}")
        + "; `cifarzoo list --pretrained` shows all"
    )


def _nearest(entries: Sequence[Published], name: str) -> list[Published]:
    """Return the two entries whose model or tag is most similar to a name."""

    def distance(entry: Published) -> float:
        names = (entry.model, entry.tag, *entry.aliases)
        return -max(difflib.SequenceMatcher(None, name, known, autojunk=False).ratio() for known in names)

    return sorted(entries, key=distance)[:2]


def _listing(entries: Sequence[Published]) -> str:
    return "; ".join(f"{entry.tag} ({describe_entry(entry)})" for entry in entries) or "nothing yet"
