"""Run notebooks from top to bottom and keep their outputs: `python notebooks/execute.py [NAME...]`, by default all.

They run in an empty temporary folder, in which `notebooks` is a link to this one, and use the data that cifarzoo finds,
so set CIFARZOO_DATA. A notebook that fails, or writes to stderr, is left as it was. Packages:
`pip install '.[notebooks,plots,litert]'`.
"""

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

FOLDER = Path(__file__).resolve().parent


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in a new kernel in a folder, and put their outputs into the notebook, without times.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
        RuntimeError: a cell wrote to stderr.
    """
    # `!cifarzoo` in a cell is the command of this Python.
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    client = nbclient.NotebookClient(
        notebook, timeout=3600, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise RuntimeError(f"a cell wrote to stderr: {output['text']}")
            if "image/png" in output.get("data", {}):
                output["data"].pop("image/jpeg", None)  # Pillow gives both
                output["data"]["image/png"] = smaller(output["data"]["image/png"])


def smaller(png: str) -> str:
    """Return a PNG file, as base64, with at most 256 colors: a third of the size, for a repository of many pictures."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main(names: list[str]) -> None:
    """Execute notebooks in place and print their sizes."""
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "notebooks").symlink_to(FOLDER)
            execute(notebook, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
