"""The pages of the recipes: the comment at the top of each file, and the file."""

import itertools
from collections.abc import Iterator

from outside import ROOT

RECIPES = ROOT / "recipes"
INDEX = """# Recipes

Files of experiments that reproduce what others report. Each begins with the paper, its numbers, the estimated cost and
the differences. `cifarzoo train @NAME` trains one, in a clone or without. [Experiments](../experiments.md) may name it
as `recipe: NAME`.

| recipe | begins with |
| --- | --- |
"""


def pages() -> Iterator[tuple[str, str]]:
    """Yield address and text of the list of recipes and of every recipe."""
    lines = []
    for path in sorted(RECIPES.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        comment = list(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
        first = " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line.strip("# "), comment))
        lines.append(f"| [{path.stem}]({path.stem}.md) | {_first_sentence(first)} |")
        yield (
            f"recipes/{path.stem}.md",
            f"# {path.stem}\n\n{_command(path)}```yaml\n{text}```\n",
        )
    yield "recipes/index.md", INDEX + "\n".join(lines) + "\n"


def _command(path):
    """Return the command that trains a recipe; the rows of zoo.yaml are no experiments."""
    command = "fill-zoo --plan" if path.stem == "zoo" else f"train @{path.stem}"
    return f"    cifarzoo {command}\n\n"


def _first_sentence(text):
    """Return a text up to the first period or colon that ends a sentence; addresses and names contain others."""
    ends = [text.find(end) for end in (". ", ": ") if end in text]
    sentence = text[: min(ends)] if ends else text
    return sentence.replace("|", "\\|").rstrip(".:") + "."
