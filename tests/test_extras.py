"""The commands in messages that say what to install."""

import importlib.metadata
import re
import shlex
import tomllib

import pytest
from model_cases import ROOT
from packaging.requirements import Requirement

from cifarzoo.extras import install_command

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_command_names_the_packages_of_the_extra(extra, monkeypatch):
    # As the metadata of an installation has them, which may be older than this checkout.
    listed = [f'{Requirement(text)}; extra == "{name}"' for name, texts in EXTRAS.items() for text in texts]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["keras>=3.15", *listed])
    command = shlex.split(install_command(extra))
    assert command[:2] == ["pip", "install"]
    assert {str(Requirement(text)) for text in command[2:]} == {str(Requirement(text)) for text in EXTRAS[extra]}


def test_a_checkout_that_is_not_installed_is_the_place_to_install_from(monkeypatch):
    def nowhere(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", nowhere)
    assert install_command("hub") == "pip install '.[hub]' in the clone of cifarzoo"


def test_messages_ask_for_extras_that_exist():
    modules = (ROOT / "cifarzoo").rglob("*.py")
    asked = {name for path in modules for name in re.findall(r"install_command\([\"'](\w+)", path.read_text("utf-8"))}
    assert asked and asked <= set(EXTRAS)


def test_no_text_names_a_package_of_an_index():
    """Whoever follows `pip install cifarzoo` gets what a stranger may have put there, or nothing."""
    paths = [path for end in ("py", "md", "ipynb", "yaml", "html") for path in ROOT.rglob(f"*.{end}")]
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in paths
        if not set(path.relative_to(ROOT).parts) & {"tests", ".venv", "site", "runs", "logs", "reports"}
    }
    wrong = {
        str(path): found
        for path, text in texts.items()
        if (found := re.findall(r"pip install (?!-)[^`\n]*?cifarzoo(?!-)[^`\n]*", text)) and path.name != "extras.py"
    }
    assert len(texts) > 300 and not wrong
