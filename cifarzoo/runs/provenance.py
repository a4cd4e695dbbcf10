"""The circumstances of a result: code revision, package versions, device."""

import contextlib
import functools
import importlib.metadata
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from cifarzoo._version import __version__
from cifarzoo.hardware import device_name

PACKAGES = ("keras", "tensorflow", "jax", "jaxlib", "numpy")
# Separates the values of a run that moved to another machine.
AND = " and "
# The parts of the checkout that affect results; the tables that every publication changes do not.
CODE = ("cifarzoo", "recipes", "experiments.yaml", "run_experiments.py", "pyproject.toml")


def provenance(replicas: int = 1) -> dict:
    """Return the Git revision, package versions, backend and devices.

    The revision ends in `+changes` if the checkout's code differs from it. Without a repository it is the value of
    `$CIFARZOO_REVISION`, or None.
    """
    import keras

    return {
        "revision": _revision(),
        "versions": versions_of(PACKAGES),
        "backend": keras.backend.backend(),
        "device": device_name(replicas),
    }


def joined(earlier: dict, now: dict) -> dict:
    """Return the provenance of a resumed run: both values where the earlier and the current one differ."""

    def both(a, b):
        if isinstance(a, dict) and isinstance(b, dict):
            return {key: both(a.get(key), b.get(key)) for key in a | b}
        if a is None or b is None:
            return b if a is None else a
        return a if b in a.split(AND) else f"{a}{AND}{b}"

    return both(earlier, now)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of cifarzoo and of packages, without those that are not installed.

    A package that is installed under another name, such as tensorflow-cpu, is left out, too.
    """
    versions = {"cifarzoo": __version__}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


@functools.cache  # the code that this process loaded does not change
def _revision():
    folder = Path(__file__).resolve().parent
    if not (folder.parent.parent / ".git").exists():
        return os.environ.get("CIFARZOO_REVISION")  # a repository further up is another project's
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, encoding="utf-8", check=True, timeout=10
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", *CODE],
            cwd=folder.parent.parent,
            capture_output=True,
            encoding="utf-8",
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+changes" if changes else "")
