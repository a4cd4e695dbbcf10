"""The table of other projects' checkpoints: one JSON file per source in `sources/`. Reading it costs no Keras.

A file holds the values that all of a source's entries share, and a list of entries, which may override them. Nothing is
checked at every start; `tests/test_conversion_entries.py` checks every value.
"""

import difflib
import fnmatch
import functools
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cifarzoo.errors import WeightsError, printable

SOURCES = Path(__file__).with_name("sources")

HashKind = Literal["sha256", "sha1_of_member", "git_blob", "sha256_prefix"]
Selection = Literal["last epoch", "best on test", "probably best on test", "not stated"]


@dataclass(frozen=True)
class File:
    """One downloadable file of an entry.

    Attributes:
        url: Where its authors published it.
        format: Format of the checkpoint, as in `Checkpoint.format`.
        hashes: Known hashes by kind, hexadecimal: "sha256" of the file, "sha1_of_member" of the one member of a zip,
            "git_blob" (the id that git gives the file), "sha256_prefix" (at least 8 digits). May be empty.
        size: Size in bytes, if known.
        member: Name of the member to unpack, if the download is a zip around the checkpoint.
        layout: Name of the key map, if it is not the entry's: the same network in another library's format.
    """

    url: str
    format: str
    hashes: dict[HashKind, str] = field(default_factory=dict)
    size: int | None = None
    member: str | None = None
    layout: str | None = None


@dataclass(frozen=True)
class Entry:
    """One checkpoint of another project, and how to use it here.

    Attributes:
        name: "SOURCE/NAME", with NAME as the source spells it.
        files: Alternatives, best first. A TensorFlow checkpoint is one alternative of several files.
        factory: Name of the factory here.
        arguments: Its architecture arguments.
        classes: Number of outputs.
        dataset: The training data, "cifar10" or "cifar100".
        statistics: What normalizes the input: a name in `data.statistics`, or {"mean": [...], "std": [...]} on 0-255.
        layout: Name of the key map, in `layouts`. See `layout_of`.
        epsilon: BatchNormalization's epsilon in the source.
        error: Error in percent that the source reports, if it does.
        selection: How the epoch of the file was selected, as one of a few values to group by.
        protocol: How the reported number was selected, in words.
        license, license_url: License of the weights, as the source states it.
        homepage: The source's page.
        trainable: Number of trainable parameters that the source reports, if it does.
        tried: Whether the download was ever tried.
        remark: What a user must know, if anything.
    """

    name: str
    files: tuple[tuple[File, ...], ...]
    factory: str
    arguments: dict[str, Any]
    classes: int
    dataset: str
    statistics: str | dict[str, list[float]]
    layout: str
    selection: Selection
    protocol: str
    license: str
    license_url: str
    homepage: str
    epsilon: float = 1e-5
    error: float | None = None
    trainable: int | None = None
    tried: bool = False
    remark: str = ""

    @property
    def source(self) -> str:
        """The part of the name before the slash."""
        return self.name.split("/", 1)[0]

    @property
    def hashed(self) -> Literal["yes", "in part", "no"]:
        """Whether the source publishes hashes: of all files, of some, or of none."""
        known = {bool(file.hashes) for files in self.files for file in files}
        return "in part" if len(known) > 1 else "yes" if True in known else "no"

    @property
    def digest(self) -> str:
        """SHA-256 of everything that a converted file depends on or says about itself."""
        facts = {key: value for key, value in asdict(self).items() if key not in ("trainable", "tried", "remark")}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def layout_of(self, form: str) -> str:
        """Return the name of the key map of the entry's checkpoint in a format, `Checkpoint.format`."""
        return next(
            (file.layout for files in self.files for file in files if file.format == form and file.layout), self.layout
        )


@functools.cache
def entries() -> dict[str, Entry]:
    """Return every entry by name, in the order of the sources' names and of their files."""
    return {entry.name: entry for path in sorted(SOURCES.glob("*.json")) for entry in _read(path)}


def _read(path: Path) -> list[Entry]:
    """Read the entries of one source."""
    shared = json.loads(path.read_text(encoding="utf-8"))
    source, own = shared.pop("source"), shared.pop("entries")
    return [_entry(source, shared | values) for values in own]


def _entry(source: str, values: dict[str, Any]) -> Entry:
    """Make an entry from its values in JSON."""
    files = tuple(tuple(File(**file) for file in alternative) for alternative in values["files"])
    derived = {"name": f"{source}/{values['name']}", "classes": 100 if values["dataset"] == "cifar100" else 10}
    return Entry(**values | derived | {"files": files})


def find(name: str) -> Entry:
    """Return the entry of a name, in any case.

    Raises:
        WeightsError: no such entry; the message has the two nearest names, or two of the source that it names.
    """
    own = [entry.name for entry in entries().values() if entry.source.lower() == name.lower().rstrip("/")]
    if own:
        raise WeightsError(
            f"{printable(name)}: is a source of {len(own)} checkpoints, such as {' and '.join(own[:2])}; "
            f"`cifarzoo import --list {name.rstrip('/')}` shows all"
        )
    known = {known.lower(): entry for known, entry in entries().items()}
    if entry := known.get(name.lower()):
        return entry
    near = sorted(known, key=lambda other: -_likeness(name.lower(), other))[:2]
    near = [known[other].name for other in near if _likeness(name.lower(), other) > 0.5]
    suggestion = f"did you mean {' or '.join(near)}? " if near else ""
    raise WeightsError(f"{printable(name)}: no such checkpoint; {suggestion}`cifarzoo import --list` shows all")


def _likeness(name: str, known: str) -> float:
    """Return how much a name resembles a known one, with or without its source, from 0 to 1."""
    return max(difflib.SequenceMatcher(None, name, part).ratio() for part in (known, known.split("/", 1)[1]))


def matching(pattern: str = "*", dataset: str | None = None) -> list[Entry]:
    """Return the entries whose name, name without source, or source matches a shell pattern, in any case.

    Args:
        pattern: The shell pattern.
        dataset: Only entries that were trained on this data set.
    """
    pattern = pattern.lower()
    return [
        entry
        for name, entry in entries().items()
        if dataset in (None, entry.dataset)
        and any(fnmatch.fnmatchcase(part, pattern) for part in (name.lower(), *name.lower().split("/", 1)))
    ]
