"""Locate published files in the weights folders."""

import os
from pathlib import Path


def weight_folders() -> list[Path]:
    """List the folders to search for weight files, in order: `$CIFARZOO_WEIGHTS`, the package's, the checkout's."""
    package = Path(__file__).resolve().parent.parent
    variable = os.environ.get("CIFARZOO_WEIGHTS")
    folders = [Path(variable).expanduser()] if variable else []
    return [*folders, package / "weights", package.parent / "weights"]


def find(name: str) -> Path | None:
    """Return the path of a file in the weights folders, or None."""
    return next((folder / name for folder in weight_folders() if (folder / name).is_file()), None)


def report_page(tag: str) -> Path | None:
    """Return the path of the report of a published run in the checkout that has its weights, or None."""
    pages = (folder.parent / "docs" / "reports" / f"{tag}.html" for folder in weight_folders())
    return next((page for page in pages if page.is_file()), None)
