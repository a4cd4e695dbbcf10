"""Tables generated from the manifest: RESULTS.md, with what others report, and the README's list of weights."""

import json
import statistics
from pathlib import Path
from typing import Any

import yaml

from cifarzoo.errors import WeightsError
from cifarzoo.marked_table import with_table
from cifarzoo.models.catalogue import call
from cifarzoo.pretrained.manifest import Published
from cifarzoo.publishing.cards import duration

HEADER = """# Results

Generated from [weights/manifest.json](weights/manifest.json) whenever weights are published; do not edit. Errors are in
percent, of the last epoch (or of the averaged weights at that point), on all 10,000 test images, measured from the
published files: mean and standard deviation over n seeds. Recipes are those of [recipes/zoo.yaml](recipes/zoo.yaml);
the card beside each file contains the whole recipe, even if zoo.yaml no longer does. Numbers by others are quoted
([anchors](weights/anchors.yaml)); most of them are the best epoch on the test set. Source repository: the one, among
those that this zoo unites (cifar-vs-tensorflow2, cifar_jax, Flax, MicroNet), that has the network.

"""
COLUMNS = (
    "model",
    "data",
    "recipe",
    "error",
    "n",
    "paper",
    "source repository",
    "best other zoo",
    "parameters",
    "MMACs",
    "training",
    "MB",
)
README_MARKS = ("<!-- weights:begin -->", "<!-- weights:end -->")


def results_page(entries: list[Published], anchors_path: Path) -> str:
    """Return the text of RESULTS.md: one row per architecture, data set and recipe."""
    anchors = yaml.safe_load(anchors_path.read_text(encoding="utf-8"))
    groups: dict[tuple, list[Published]] = {}
    for entry in entries:
        key = entry.model, json.dumps(entry.architecture, sort_keys=True), entry.dataset, entry.training["recipe"]
        groups.setdefault(key, []).append(entry)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(_cells(group, anchors)) + " |" for group in groups.values()]
    notes = [f"* {name}: {protocol}" for name, protocol in anchors["protocols"].items()]
    page = HEADER + "\n".join(lines) + "\n\nProtocols of other zoos:\n\n" + "\n".join(notes) + "\n"
    if remarks := [f"* {entry.tag}: {entry.remark}" for entry in entries if entry.remark]:
        page += "\nRemarks:\n\n" + "\n".join(remarks) + "\n"
    return page


def _cells(group, anchors):
    entry = group[0]
    errors = [other.metrics["error"] for other in group]
    deviation = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    anchor: dict[str, Any] = next((row for row in anchors["rows"] if _is_about(row, entry)), {})
    seconds = statistics.fmean(other.training["seconds"] for other in group)
    devices = {other.training["device"] for other in group}
    return [
        f"`{call(entry.model, entry.architecture)}`",
        entry.dataset,
        entry.training["recipe"],
        f"{statistics.fmean(errors):.2f}{deviation}",
        str(len(group)),
        anchor.get("paper", ""),
        anchor.get("source", ""),
        f"{anchor['zoo']} ({anchor['by']})" if "zoo" in anchor else "",
        f"{entry.parameters:,}",
        f"{entry.macs / 1e6:,.1f}",
        f"{duration(seconds)}, {devices.pop() if len(devices) == 1 else 'mean over several devices'}",
        f"{entry.bytes / 1e6:.1f}",
    ]


def _is_about(anchor, entry):
    return (
        anchor["model"] == entry.model
        and anchor["dataset"] == entry.dataset
        and all(entry.architecture.get(key) == value for key, value in anchor.get("architecture", {}).items())
    )


def weights_table(entries: list[Published]) -> str:
    """Return the README's table of published weights."""
    lines = [
        "| weights | model | data | error % | NLL | ECE | parameters | MB | device, time |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for entry in entries:
        metrics, training = entry.metrics, entry.training
        lines.append(
            f"| [{entry.tag}](weights/{entry.tag}.md){'' if entry.default else ' (not the default)'} "
            f"| `{call(entry.model, entry.architecture)}` | {entry.dataset} | {metrics['error']:.2f} "
            f"| {metrics['nll']:.3f} | {metrics['ece']:.3f} | {entry.parameters:,} | {entry.bytes / 1e6:.1f} "
            f"| {training['device']}, {duration(training['seconds'])} |"
        )
    return "\n".join(lines)


def readme_with_table(readme: Path, entries: list[Published]) -> str:
    """Return the README's text with the table of published weights between its marks.

    Raises:
        WeightsError: a mark is missing.
    """
    return with_table(readme, README_MARKS, weights_table(entries), WeightsError)
