"""The table of other projects' checkpoints: one JSON file per source in `sources/`. Reading it costs no Keras.

A file holds the values that all of a source's entries share, and a list of entries, which may override them.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

HashKind = Literal["sha256", "sha1_of_member", "git_blob", "sha256_prefix"]


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
    """

    url: str
    format: str
    hashes: dict[HashKind, str] = field(default_factory=dict)
    size: int | None = None
    member: str | None = None


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
        statistics: What normalises the input: a name in `data.statistics`, or {"mean": [...], "std": [...]} on 0-255.
        layout: Name of the key map, in `layouts`.
        epsilon: BatchNormalization's epsilon in the source.
        error: Error in percent that the source reports, if it does.
        protocol: How the reported number was selected, in words.
        license, license_url: License of the weights, as the source states it.
        homepage: The source's page.
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
    protocol: str
    license: str
    license_url: str
    homepage: str
    epsilon: float = 1e-5
    error: float | None = None
    tried: bool = False
    remark: str = ""

    @property
    def source(self) -> str:
        """The part of the name before the slash."""
        return self.name.split("/", 1)[0]
