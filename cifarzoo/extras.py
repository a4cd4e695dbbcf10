"""How to install the packages of an extra: by their own names, as no package index has cifarzoo."""

import importlib.metadata
import re


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, such as `pip install "huggingface_hub>=0.30"`.

    It works for a clone and for a wheel alike; `'.[hub]'` does in a clone only, and `cifarzoo[hub]` nowhere.

    Args:
        extra: One of `[project.optional-dependencies]` in pyproject.toml.
    """
    try:
        requirements = importlib.metadata.requires("cifarzoo") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    packages = [one[1] for text in requirements if (one := re.fullmatch(rf'(.+?); extra == "{extra}"', text))]
    if not packages:  # a checkout that is imported without being installed, or was so before it had this extra
        return f"pip install '.[{extra}]' in the clone of cifarzoo"
    # Double quotes work in every shell, that of Windows too.
    return "pip install " + " ".join(f'"{package}"' if set(package) & set("<>[") else package for package in packages)
