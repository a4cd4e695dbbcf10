"""The list of notebooks, each with its title and its first paragraph."""

import json

from outside import ROOT

HEADER = """# Notebooks

Their outputs are stored with them, and tests execute them. A link opens the file; Jupyter shows it with
`pip install '.[notebooks]' && jupyter lab notebooks`.

"""


def page() -> str:
    """Return the text of the page."""
    return HEADER + "\n".join(_item(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))) + "\n"


def _item(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    title = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("# ")), path.stem)
    paragraphs = (part for part in text.split("\n\n") if part.strip() and not part.lstrip().startswith(("#", "[", "<")))
    about = " ".join(next(paragraphs, "").split())
    return f"* [{title}](../notebooks/{path.name}): {about}"
