"""The notebooks run from top to bottom; their measurements are stored with them, so this takes seconds."""

import shutil

import nbclient
import nbformat
import pytest
from model_cases import ROOT

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("name", ["sharpness"])
@pytest.mark.filterwarnings("default")  # the notebook client's own
@pytest.mark.slow
def test_a_notebook_runs_from_its_kept_measurements(name, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.setenv("CIFARZOO_DATA", str(tmp_path / "no data"))  # whatever is not kept fails instead of training
    notebook = nbformat.read(tmp_path / f"notebooks/{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"], outputs
    pictures = list((tmp_path / "docs/figures").glob(f"{name}_*.svg"))
    assert pictures
    # What lies in docs/ is what this notebook draws.
    assert {p.name for p in pictures} == {p.name for p in (ROOT / "docs/figures").glob(f"{name}_*.svg")}
