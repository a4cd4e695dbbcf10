"""The file of a list: sub-policies in Fast AutoAugment's format, below a header that says where they come from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cifarzoo import strict_yaml
from cifarzoo.errors import DataError, ExperimentError
from cifarzoo.runs import atomic
from cifarzoo.search.objectives import SubPolicy

# Of the list below the header, so that an edited or incomplete one is not taken for that of its header.
HASH = "list_sha256"
TITLE = "# A list of augmentation policies that `cifarzoo search` wrote; use it as {policies: {file: THIS_FILE}}."


def write_list(path: Path, header: dict[str, Any], policies: Sequence[SubPolicy]) -> None:
    """Write a list.

    Args:
        path: The file.
        header: Plain data, written as comments; the list's SHA-256 is added.
        policies: The sub-policies.
    """
    lines = [
        "- [" + ", ".join(f"[{name}, {p!r}, {level!r}]" for name, p, level in sub_policy) + "]"
        for sub_policy in policies
    ]
    header = header | {HASH: _digest(lines)}
    comments = [f"# {line}" for line in strict_yaml.dump(header).splitlines()]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, "\n".join([TITLE, *comments, *lines]) + "\n")


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a list.

    Raises:
        DataError: the file cannot be read, has no such header, or its list is not the one that was written.
    """
    try:
        title, *lines = strict_yaml.read_text(path).splitlines() or [""]
        policies = [line for line in lines if not line.startswith("#")]
        comments = [line.removeprefix("# ") for line in lines if line.startswith("#")]
        header = strict_yaml.parse("\n".join(comments), str(path))
    except ExperimentError as failure:
        raise DataError(str(failure)) from None
    if title != TITLE or not isinstance(header, dict):
        raise DataError(f"{path}: not a list that `cifarzoo search` wrote: it has no header")
    if HASH not in header:
        raise DataError(f"{path}: an earlier version of cifarzoo wrote it; rename it, or delete it")
    if header[HASH] != _digest(policies):
        raise DataError(f"{path}: was changed since `cifarzoo search` wrote it; rename it, or delete it")
    return header


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
