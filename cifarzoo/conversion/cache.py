"""Converted weight files in the user's cache, made from downloads on first use.

downloads/SOURCE/FILE                 as its authors published it
converted/SOURCE/NAME.weights.h5      a weight file of ours, whose description names its source
"""

import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cifarzoo.checksum import sha256
from cifarzoo.conversion import download
from cifarzoo.conversion.content import content_sha256
from cifarzoo.conversion.convert import convert
from cifarzoo.conversion.entries import Entry, File
from cifarzoo.conversion.input_check import contradiction
from cifarzoo.conversion.layouts import layout_named
from cifarzoo.conversion.readers import read_checkpoint
from cifarzoo.conversion.state import state_of
from cifarzoo.errors import ModelError, UnreachableError, WeightsError
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.pretrained.arrays import model_arrays, read_arrays
from cifarzoo.pretrained.description import Build, Description, description_of, read_description, save_weights
from cifarzoo.runs.locks import locked
from cifarzoo.transfer import Progress

if TYPE_CHECKING:
    import keras

# Files of other versions are converted again. Increase it with every change of what conversion computes.
CONVERSION = 1

# What the names of a TensorFlow checkpoint's files end in.
PART = re.compile(r"\.(index|data-\d+-of-\d+)$")


def cache_folder() -> Path:
    """Return the folder of downloads and converted files: `$CIFARZOO_CACHE`, or `models/cifarzoo` in Keras' folder."""
    if own := os.environ.get("CIFARZOO_CACHE"):
        return Path(own).expanduser()
    keras_home = os.environ.get("KERAS_HOME")
    return (Path(keras_home).expanduser() if keras_home else Path.home() / ".keras") / "models" / "cifarzoo"


def describe(entry: Entry) -> Description:
    """Return the description of an entry's network."""
    return Description(
        factory=entry.factory,
        arguments=entry.arguments,
        classes=entry.classes,
        statistics=entry.statistics,
        dataset=entry.dataset,
    )


def converted_path(entry: Entry) -> Path:
    """Return where the converted file of an entry is, or will be."""
    return cache_folder() / "converted" / f"{entry.name}.weights.h5"


def weight_file(entry: Entry, build: Build, file: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the converted file of an entry; download and convert it unless that was done before.

    Several processes may ask at once: one of them converts, the others wait.

    Args:
        entry: The entry.
        build: Builds the model of a description.
        file: The checkpoint, if the user already has it: what the source publishes, or the member of its zip. It is
            converted even if the cache has a converted file.
        progress: Called while a download arrives.

    Raises:
        WeightsError: the download fails, its hash differs, the file does not fit, or the cache cannot be written.
    """
    path = converted_path(entry)
    try:
        if file is None and _is_current(path, entry):  # files appear whole; a shared cache may be read-only
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f"{path.name}.lock"), wait=True):
            if file is None and _is_current(path, entry):
                return path
            source, files = _own_file(file, entry) if file else _downloaded(entry, progress)
            _convert(source, files, entry, build, path, by_hand=file is not None)
            return path
    except OSError as failure:
        where, reason = failure.filename or path, failure.strerror or str(failure)
        text = f"{entry.name}: {where}: {reason}; files go to {cache_folder()}, or where CIFARZOO_CACHE says"
        raise WeightsError(text) from None


def _is_current(path: Path, entry: Entry) -> bool:
    """Whether a converted file is whole, and the table says nothing else since then."""
    if not path.is_file():
        return False
    try:
        description = read_description(path)
        facts = description.facts if description else {}
        return (
            facts.get("conversion") == CONVERSION
            and facts.get("entry_sha256") == entry.digest
            and content_sha256(read_arrays(path)) == facts.get("content_sha256")
        )
    except WeightsError:  # damaged
        return False


def _downloaded(entry: Entry, progress: Progress | None) -> tuple[Path, tuple[File, ...]]:
    """Return an alternative that is there already, or download the first that can be had.

    Raises:
        WeightsError: none can; the reason is that of the first.
    """
    folder = cache_folder() / "downloads" / entry.source
    folder.mkdir(parents=True, exist_ok=True)
    first: WeightsError | None = None
    unreachable: set[str | None] = set()  # each of several attempts would wait for as long
    for files in sorted(entry.files, key=lambda files: not all(download.is_there(file, folder) for file in files)):
        host = urlsplit(files[0].url).hostname
        if host in unreachable:
            continue
        try:
            # The files of a TensorFlow checkpoint can only be read together.
            read = read_checkpoint if len(files) == 1 else None
            paths = [download.fetch(file, folder, progress, read) for file in files]
        except WeightsError as failure:
            first = first or failure
            if isinstance(failure, UnreachableError):
                unreachable.add(host)
            continue
        return _to_read(paths), files
    raise first or WeightsError(f"{entry.name}: has no address to download from")


def _own_file(path: Path, entry: Entry) -> tuple[Path, tuple[File, ...]]:
    """Check a file that the user already has.

    Returns:
        The path to read, and the alternative of the entry that it is.

    Raises:
        WeightsError: it is none of the entry's files.
    """
    problems = []
    for files in entry.files:
        try:
            paths = [_checked(_sibling(path, file), file, entry) for file in files]
        except WeightsError as failure:
            problems.append(failure)
            continue
        return _to_read(paths), files
    # The alternative with the same ending is most likely the one that was meant.
    alike = [p for p, files in zip(problems, entry.files, strict=True) if files[0].url.endswith(path.suffix)]
    raise (alike or problems)[0]


def _checked(path: Path, file: File, entry: Entry) -> Path:
    """Check a file that the user already has, and return it or the member that it is a zip of."""
    try:
        download.check(path, file)
    except WeightsError as failure:
        raise WeightsError(str(failure).removesuffix("; delete it")) from None
    if file.member and download.is_zip_of(path, file.member):
        folder = cache_folder() / "downloads" / entry.source
        folder.mkdir(parents=True, exist_ok=True)
        return download.unpack(path, file, folder)
    return path


def _sibling(path: Path, file: File) -> Path:
    """Return the path of one of the files of a TensorFlow checkpoint, given the path of any of them or their prefix."""
    part = PART.search(file.url)
    return path.with_name(PART.sub("", path.name) + part[0]) if part else path


def _to_read(paths: list[Path]) -> Path:
    """Return the path that the reader takes: of a TensorFlow checkpoint that of the index."""
    return next((path for path in paths if path.name.endswith(".index")), paths[0])


def _verified(entry: Entry, by_hand: bool) -> str:
    """Say in words how the source's files were verified."""
    if entry.hashed == "no":
        return f"no: its source publishes no hash, and the file was {'given by hand' if by_hand else 'downloaded'}"
    return "by the hashes that are known" if entry.hashed == "yes" else "in part: some files have no hash"


def _same_as_before(hashes: dict[str, str], entry: Entry, target: Path) -> None:
    """Refuse a download without a known hash if it differs from the one that the cache was made from before.

    Raises:
        WeightsError: it differs.
    """
    try:
        description = read_description(target) if target.is_file() else None
    except WeightsError:  # damaged
        return
    facts = description.facts if description else {}
    if facts.get("verified") == _verified(entry, by_hand=True):
        return
    known = {file.url for files in entry.files for file in files if file.hashes}
    before = facts.get("files", {})
    for url, digest in hashes.items():
        if url not in known and (earlier := before.get(url, digest)) != digest:
            raise WeightsError(
                f"{url}: sends another file than before: SHA-256 {digest[:16]} instead of {earlier[:16]}, and no hash "
                f"is known; to accept it, delete {target}"
            )


def _convert(
    path: Path, files: tuple[File, ...], entry: Entry, build: Build, target: Path, by_hand: bool = False
) -> None:
    """Convert a checked checkpoint and write the weight file."""
    hashes = {file.url: sha256(_sibling(path, file)) for file in files}
    if not by_hand:
        _same_as_before(hashes, entry, target)
    try:
        checkpoint = read_checkpoint(path)
    except WeightsError as failure:
        text = str(failure) if by_hand or entry.hashed == "yes" else f"{failure}; delete it to download it again"
        raise WeightsError(text) from None
    layout = layout_named(entry.layout_of(checkpoint.format))
    if problem := contradiction(checkpoint, entry.statistics):
        raise WeightsError(f"{path}: {problem}")
    described = describe(entry)
    with fresh_model(described, build) as model:
        try:
            convert(model, state_of(checkpoint), layout, entry.epsilon)
        except WeightsError as failure:
            raise WeightsError(f"{path}: {failure}") from None
        source = {
            "name": entry.name,
            "homepage": entry.homepage,
            "license": entry.license,
            "license_url": entry.license_url,
            "files": hashes,
            "verified": _verified(entry, by_hand),
            "content_sha256": content_sha256(model_arrays(model)),
            "entry_sha256": entry.digest,
            "epsilon": entry.epsilon,
            "reported_error": entry.error,
            "selection": entry.selection,
            "protocol": entry.protocol,
            "conversion": CONVERSION,
        }
        complete = description_of(model) or described
        save_weights(model, target, replace(complete, dataset=entry.dataset, source=source))


@contextmanager
def fresh_model(description: Description, build: Build) -> "Iterator[keras.Model]":
    """Yield a float32 model to fill, whatever precision is set, and leave Python's random numbers as they were.

    Whoever fine-tunes from an imported file draws the same classifier whether the file was converted before or now.

    Raises:
        WeightsError: no factory of this version builds the model.
    """
    state = random.getstate()
    try:
        with arithmetic("float32"):
            yield build(description)
    except ModelError as failure:
        raise WeightsError(f"{description}: this version does not build it ({failure})") from None
    finally:
        random.setstate(state)
