"""The package as it is installed: what the wheel holds, what importing costs, what works outside the checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cifarzoo.experiment.files import quickstart_experiment, read_experiments

ROOT = Path(__file__).parent.parent
# Extras whose packages depend on the accelerator or come from elsewhere.
UNCONSTRAINED = {"jax-cuda", "torch", "parity"}


# The weights are most of the wheel. Leave out the least wanted files beyond this sum, by `exclude-package-data` in
# pyproject.toml, and give them an address, `url` in the manifest.
MOST_BYTES_OF_WEIGHTS = 60_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `python -m build` makes from a source distribution of the tracked files."""
    pytest.importorskip("build")
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
            shutil.copy(ROOT / name, folder / "source" / name, follow_symlinks=False)
    built = subprocess.run(
        # Without isolation, which would download setuptools.
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "source"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs Python outside the checkout, with the wheel installed in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", folder / "site", wheel],
        check=True,
    )
    (folder / "empty").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CIFARZOO_")}

    def run(*arguments):
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder / "empty",
            capture_output=True,
            text=True,
            env=environment | {"PYTHONPATH": str(folder / "site"), "KERAS_BACKEND": "jax"},
        )
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    assert Path(run("-c", "import cifarzoo; print(cifarzoo.__file__)").strip()).is_relative_to(folder / "site")
    return run


def test_wheel_holds_every_module_and_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for path in (ROOT / "cifarzoo").rglob("*.py"):
            assert str(path.relative_to(ROOT)) in names
        assert {"cifarzoo/weights/manifest.json", "cifarzoo/models/catalogue.json"} <= names
        for folder in ("weights", "recipes", "recipes/policies"):
            for path in filter(Path.is_file, (ROOT / folder).glob("[!.]*")):
                assert archive.read(f"cifarzoo/{folder}/{path.name}") == path.read_bytes()
        assert archive.read("cifarzoo/experiment/experiments.yaml") == (ROOT / "experiments.yaml").read_bytes()
    assert not any(name.startswith("tests/") for name in names)


def test_wheel_is_small_enough():
    assert sum(path.stat().st_size for path in (ROOT / "weights").glob("*.weights.h5")) < MOST_BYTES_OF_WEIGHTS


def test_twine_accepts_the_wheel_and_the_source_distribution(wheel):
    pytest.importorskip("twine")
    files = sorted(wheel.parent.iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("PASSED") == 2


def test_installed_package_has_all_weights_and_experiments(installed):
    code = """
import sys
from cifarzoo.checksum import sha256
from cifarzoo.experiment.files import read_experiments
from cifarzoo.experiment.shipped import shipped_files
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.pretrained.selection import weight_file
for entry in manifest():
    assert sha256(weight_file(entry)) == entry.sha256  # nothing is downloaded
print(len(manifest()), *(experiment.name for name in shipped_files() for experiment in read_experiments(f"@{name}")))
assert "keras" not in sys.modules
"""
    count, *names = installed("-c", code).split()
    files = [ROOT / "experiments.yaml", *sorted(set((ROOT / "recipes").glob("*.yaml")) - {ROOT / "recipes/zoo.yaml"})]
    assert int(count) == len(list((ROOT / "weights").glob("*.weights.h5")))
    assert names == [experiment.name for path in files for experiment in read_experiments(path)]
    listed = json.loads(installed("-m", "cifarzoo", "train", "@", "--format", "json"))
    assert [row["file"] for row in listed] == ["@experiments", *(f"@{path.stem}" for path in files[1:])]
    assert installed("-m", "cifarzoo", "show", "@vgg") == (ROOT / "recipes" / "vgg.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_installed_package_loads_weights_and_trains_a_recipe(installed):
    code = """
import cifarzoo, numpy as np
from cifarzoo.pretrained.manifest import manifest
by_size = sorted(manifest(), key=lambda entry: entry.bytes)
for entry in (by_size[0], by_size[-1]):
    model = cifarzoo.load(entry.tag)
    print(*model(np.zeros((1, 32, 32, 3), "float32")).shape)
"""
    assert installed("-c", code) == "1 10\n1 10\n"
    schedule = "train_parameters.schedule={kind: constant, learning_rate: 0.01, duration: 2}"
    short = ("dataset=synthetic", "skip_error_test=true", schedule, "train_parameters.batch_size=8")
    settings = [text for setting in short for text in ("--set", setting)]
    rows = json.loads(installed("-m", "cifarzoo", "train", "@resnet8", *settings, "--format", "json"))
    assert rows[0]["experiment"] == "resnet8" and rows[0]["steps"] == 2


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel, tmp_path):
    """With the packages that it asks for, and with no other: what somebody gets who has the file only."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CIFARZOO_", "PYTHON"))}
    python = tmp_path / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def run(*arguments):
        return subprocess.run(
            [python, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment | {"HOME": str(tmp_path), "KERAS_HOME": str(tmp_path / "keras")},
        )

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    asked = run("-m", "pip", "download", "-q", "--no-deps", "--dest", tmp_path / "asked", "typer")
    if asked.returncode:
        pytest.skip(f"no package index answers: {asked.stderr.strip().splitlines()[-1:]}")
    installed = run("-m", "pip", "install", "-q", "--no-compile", wheel)
    assert installed.returncode == 0, installed.stderr[-2000:]
    listed = run("-m", "cifarzoo", "list", "--format", "json")
    assert listed.returncode == 0, listed.stderr[-2000:]
    assert "cifar_resnet20" in listed.stdout
    arguments = ("evaluate", "resnet20_v1_cifar10_short_s0", "--dataset", "synthetic", "--format", "json")
    evaluated = run("-m", "cifarzoo", *arguments)
    assert evaluated.returncode == 0, evaluated.stderr[-2000:]
    assert json.loads(evaluated.stdout)["n"] == 2000
    # What an extra needs is said with a command that this environment can follow.
    pushed = run("-m", "cifarzoo", "push", "resnet20_v1_cifar10_short_s0", "hf://me/x")
    assert pushed.returncode == 1 and 'pip install "huggingface_hub>=0.30"' in pushed.stderr


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


def test_the_image_runs_the_commands_of_the_readme_without_privileges():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    first, second = re.findall(r"^    (python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert json.loads(re.search("^CMD (.*)$", text, re.MULTILINE)[1]) == first.split(".venv/bin/")[-1].split()
    assert f"docker run --rm cifarzoo {second.split('.venv/bin/')[-1]}\n" in text
    assert re.search(r"pip install -q (.*) && ", second)[1] in text  # the same extras
    assert re.findall("^USER (.*)$", text, re.MULTILINE) == ["user"]


def test_every_run_in_the_image_is_kept_in_a_volume():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (home,) = re.findall("^WORKDIR (.*)$", text, re.MULTILINE)
    volumes = json.loads(re.search("^VOLUME (.*)$", text, re.MULTILINE)[1])
    files = [ROOT / "experiments.yaml", *sorted(set((ROOT / "recipes").glob("*.yaml")) - {ROOT / "recipes/zoo.yaml"})]
    experiments = [quickstart_experiment(), *(experiment for path in files for experiment in read_experiments(path))]
    folders = {f"{home}/{Path(experiment.train_parameters.logdir).parts[0]}" for experiment in experiments}
    assert set(volumes) == {"/data"} | folders
    # The owner of a named volume is that of the folder in the image.
    assert f"mkdir {' '.join(sorted(Path(folder).name for folder in folders))}\n" in text
    kept = re.findall(r"^# +docker run .*-v \w+:(\S+/\w+) cifarzoo(?::cuda)?$", text, re.MULTILINE)
    assert kept == [f"{home}/{quickstart_experiment().train_parameters.logdir}"] * 2


def test_each_cuda_image_trains_on_the_backend_that_has_cuda():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = dict(re.findall(r"^FROM common AS cuda-(\w+)\n(.*?)(?=^FROM)", text, re.MULTILINE | re.DOTALL))
    assert set(stages) == {"none", "tensorflow", "jax"} and "\nFROM cuda-${CUDA}\n" in text
    assert re.findall("^ARG (CUDA=.*)$", text.partition("FROM")[0], re.MULTILINE) == ["CUDA=none"]
    assert [name for name, stage in stages.items() if "ENV KERAS_BACKEND=jax\n" in stage] == ["jax"]
    assert "KERAS_BACKEND" not in text.partition("FROM common AS cuda-jax")[0]  # Keras' default is TensorFlow


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
