"""The notebooks run from top to bottom: on few synthetic images, or from measurements that are stored with them."""

import importlib.util
import re
import shlex
import shutil

import nbformat
import pytest
from model_cases import ROOT

pytest.importorskip("matplotlib")

# What is assigned to these names in a notebook is replaced, so that it takes seconds. No data set is called "nowhere",
# so that every notebook falls back on the synthetic images, without a download.
SMALL = {
    "quickstart": {"IMAGES": "'nowhere'"},
    "finetuning": {"IMAGES": "'nowhere'", "PER_CLASS": "10", "EPOCHS": "1"},
    "dissecting": {"IMAGES": "'nowhere'", "COUNT": "100"},
    "experiments": {"IMAGES": "'nowhere'", "TRAIN": "128", "TEST": "50", "EPOCHS": "1"},
    "phone": {"IMAGES": "'nowhere'"},
}
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def read(name):
    return nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)


def execute(notebook, folder, monkeypatch):
    """Run a notebook as `notebooks/execute.py` does."""
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    import execute

    execute.execute(notebook, folder)


def printed(notebook):
    return "".join(o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream")


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name in SMALL])
@pytest.mark.filterwarnings("default")  # the notebook client's own
@pytest.mark.slow
def test_a_notebook_runs_without_a_download(name, tmp_path, monkeypatch):
    notebook = read(name)
    source = "\n".join(cell.source for cell in notebook.cells)
    for variable, value in SMALL[name].items():
        assert len(re.findall(rf"(?m)^{variable} = ", source)) == 1, variable
        for cell in notebook.cells:
            cell.source = re.sub(rf"(?m)^{variable} = .*", f"{variable} = {value}", cell.source)
    execute(notebook, tmp_path, monkeypatch)
    assert "This notebook uses <Dataset synthetic" in printed(notebook)


@pytest.mark.filterwarnings("default")
@pytest.mark.slow
def test_sharpness_runs_from_its_kept_measurements(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.setenv("CIFARZOO_DATA", str(tmp_path / "no data"))  # whatever is not kept fails instead of training
    execute(read("sharpness"), tmp_path, monkeypatch)
    pictures = list((tmp_path / "docs/figures").glob("sharpness_*.svg"))
    assert pictures
    # What lies in docs/ is what this notebook draws.
    assert {p.name for p in pictures} == {p.name for p in (ROOT / "docs/figures").glob("sharpness_*.svg")}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_opens_in_colab_and_has_outputs_of_real_images(name):
    notebook = read(name)
    first, *_ = notebook.cells
    assert "(https://colab.research.google.com/" in first.source
    install = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert 'if importlib.util.find_spec("cifarzoo") is None' in install.source and "%pip install" in install.source
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code" and cell.execution_count is None] == []
    stored = (ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8")
    assert not re.search(r"/(tmp|home|root|work)/", stored)
    if name in SMALL:
        assert re.search("This notebook uses <Dataset cifar100?:", printed(notebook))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_first_cell_installs_an_uploaded_wheel_or_the_clone_of_the_notebook(name, tmp_path, monkeypatch):
    from IPython.core.inputtransformer2 import TransformerManager

    install = next(cell for cell in read(name).cells if cell.cell_type == "code")
    commands = []

    class Shell:
        def run_line_magic(self, magic, line):
            commands.append((magic, shlex.split(line.format(**variables))))

    variables = {"get_ipython": Shell}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    wheel = tmp_path / "notebooks" / "cifarzoo-0.1.0-py3-none-any.whl"
    extras = "[plots,litert]" if name == "phone" else "[plots]"
    for target in (tmp_path, wheel):
        if target == wheel:
            wheel.touch()
        exec(TransformerManager().transform_cell(install.source), variables)
        assert commands.pop() == ("pip", ["install", "-q", f"{target}{extras}"])


def test_notebooks_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "notebooks").glob("*.ipynb")) < 1_000_000
