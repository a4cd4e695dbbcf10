"""The kinds of hashes by which other projects' files are known."""

import hashlib
from collections.abc import Mapping
from typing import IO, Any

from cifarzoo.conversion.entries import HashKind

CHUNK = 2**20
# Where a table gives only the first digits, there are at least this many: PyTorch Hub's rule for file names.
FEWEST_DIGITS = 8


def difference(file: IO[bytes], size: int, hashes: Mapping[HashKind, str]) -> str | None:
    """Return how the hashes of a file differ from those that are known, None if all are equal.

    Args:
        file: The open file; it is read once, from its present position to its end.
        size: Its length in bytes, which is part of git's hash.
        hashes: Known hashes by kind.
    """
    digests: dict[HashKind, Any] = {kind: _begin(kind, size) for kind in hashes}
    while chunk := file.read(CHUNK):
        for digest in digests.values():
            digest.update(chunk)
    for kind, expected in hashes.items():
        actual = digests[kind].hexdigest()
        if kind == "sha256_prefix" and len(expected) >= FEWEST_DIGITS:
            actual = actual[: len(expected)]
        if actual != expected.lower():
            return f"{NAMES[kind]} {actual[:16]} instead of {expected[:16]}"
    return None


NAMES: dict[HashKind, str] = {
    "sha256": "SHA-256",
    "sha256_prefix": "SHA-256",
    "sha1_of_member": "SHA-1",
    "git_blob": "git's hash",
}


def _begin(kind: HashKind, size: int) -> Any:
    if kind in ("sha256", "sha256_prefix"):
        return hashlib.sha256()
    digest = hashlib.sha1(usedforsecurity=False)
    if kind == "git_blob":
        digest.update(f"blob {size}\0".encode())
    return digest
