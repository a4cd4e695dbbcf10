"""The page of every published tag: its card, and the report of its run."""

from collections.abc import Iterator

from outside import ROOT

from cifarzoo.pretrained.manifest import manifest
from cifarzoo.publishing.pages import weights_table


def pages() -> Iterator[tuple[str, str]]:
    """Yield address and text of every tag's page."""
    for entry in manifest():
        text = (ROOT / "weights" / f"{entry.tag}.md").read_text(encoding="utf-8")
        title, _, body = text.split("---\n", 2)[2].lstrip().partition("\n")  # without the metadata for the Hub
        report = ""
        if (ROOT / "docs" / "reports" / f"{entry.tag}.html").is_file():
            report = (
                f"\n[Report of its run](../reports/{entry.tag}.html){{ .md-button .md-button--primary }}\n\n"
                "The report has learning curves, calibration, confusion matrix and mistakes, as "
                f"`cifarzoo report {entry.tag}` writes it.\n"
            )
        yield f"weights/{entry.tag}.md", f"{title}\n{report}{body}"


def table() -> str:
    """Return the README's table of published weights, with links as in a document of docs/."""
    return weights_table(manifest()).replace("](weights/", "](../weights/")
