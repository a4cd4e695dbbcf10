"""The package as it is installed: what the wheel holds, what importing costs, what works outside the checkout."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
# Extras whose packages depend on the accelerator or come from elsewhere.
UNCONSTRAINED = {"jax-cuda", "torch", "parity"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the tracked files, built as `pip install .` builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, folder / "source"],
        check=True,
        timeout=600,
    )
    return next(folder.glob("*.whl"))


def test_wheel_holds_every_module_the_manifest_and_the_small_weights(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "cifarzoo").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names
    assert {"cifarzoo/weights/manifest.json", "cifarzoo/models/catalogue.json"} <= names
    for path in (ROOT / "weights").glob("*.weights.h5"):
        assert f"cifarzoo/weights/{path.name}" in names
    assert not any("large/" in name or name.startswith("tests/") for name in names)
    assert wheel.stat().st_size < 100e6


@pytest.mark.slow
def test_installed_package_works_outside_the_checkout(wheel, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site", wheel], check=True
    )
    code = """
import cifarzoo, pathlib, numpy as np
from cifarzoo.pretrained.manifest import manifest
assert pathlib.Path(cifarzoo.__file__).is_relative_to(pathlib.Path.cwd()), cifarzoo.__file__
for entry in manifest():
    if entry.bytes < 2_000_000:
        model = cifarzoo.create_model(entry.model, classes=entry.classes, load_weights=entry.tag, **entry.architecture)
        print(entry.tag, model(np.zeros((1, 32, 32, 3), "float32")).shape)
print("end")
"""
    environment = {k: v for k, v in os.environ.items() if k != "CIFARZOO_WEIGHTS"} | {
        "PYTHONPATH": str(tmp_path / "site")
    }
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert found.returncode == 0 and found.stdout.endswith("end\n"), found.stderr[-2000:]


def test_import_is_light():
    heavy = ["keras", "tensorflow", "numpy", "jax", "pydantic"]
    code = f"import sys, cifarzoo; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_experiments_are_read_before_keras_starts():
    """`backend:` in a file decides which Keras that is."""
    code = "import sys, cifarzoo.training.runner, cifarzoo.experiment.files; print('keras' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_readme_and_ci_run_the_same_tests():
    commands = re.findall(r"^    (python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2 and "--quickstart" in commands[0]
    test_command = commands[1].removeprefix("python3 -m venv .venv && ")
    assert test_command in (ROOT / ".ci" / "run").read_text()


def test_constraints_name_every_direct_dependency_within_its_bounds():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = project["dependencies"] + [text for name in extras.keys() - UNCONSTRAINED for text in extras[name]]
    for requirement in map(Requirement, texts):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    assert list(pins) == sorted(pins) == [canonicalize_name(name) for name in pins]


def test_setup_py_has_three_lines():
    assert len((ROOT / "setup.py").read_text().splitlines()) == 3
