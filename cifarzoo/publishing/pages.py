"""RESULTS.md: the published rows beside what others report, generated from the manifest and the quoted anchors."""

import json
import statistics
from pathlib import Path

import yaml

from cifarzoo.pretrained.manifest import Published

HEADER = """# Results

Generated from [weights/manifest.json](weights/manifest.json) when weights are published; not to be edited. Errors in
percent, of the last epoch (or the averaged weights there), on all 10,000 test images, measured from the published
files; mean and standard deviation over n seeds. A recipe is one of [recipes/zoo.yaml](recipes/zoo.yaml); the card
beside each file holds it whole, also where it is there no longer. Columns of others quote them
([anchors](weights/anchors.yaml)); most of their numbers are the best epoch on the test set. Source repository: of those
that this zoo unites (cifar-vs-tensorflow2, cifar_jax, Flax, MicroNet) the one that has the network.

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


def results_page(entries: list[Published], anchors_path: Path) -> str:
    """The whole page in Markdown, one row for each architecture, data set and recipe."""
    anchors = yaml.safe_load(anchors_path.read_text())
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
    errors = [one.metrics["error"] for one in group]
    spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    anchor = next((row for row in anchors["rows"] if _is_about(row, entry)), {})
    zoo = f"{anchor['zoo']} ({anchor['by']})" if "zoo" in anchor else ""
    arguments = ", ".join(f"{key}={value!r}" for key, value in entry.architecture.items())
    training = entry.training
    seconds = statistics.fmean(one.training["seconds"] for one in group)
    devices = {one.training["device"] for one in group}
    return [
        f"`{entry.model}({arguments})`",
        entry.dataset,
        training["recipe"],
        f"{statistics.fmean(errors):.2f}{spread}",
        str(len(group)),
        anchor.get("paper", ""),
        anchor.get("source", ""),
        zoo,
        f"{entry.parameters:,}",
        f"{entry.macs / 1e6:,.1f}",
        f"{duration(seconds)}, {devices.pop() if len(devices) == 1 else 'mean over several devices'}",
        f"{entry.bytes / 1e6:.1f}",
    ]


def duration(seconds: float) -> str:
    """A time of training for people: seconds below ten minutes, else minutes."""
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds:.0f} s"


def _is_about(anchor, entry):
    architecture = anchor.get("architecture", {})
    return (
        anchor["model"] == entry.model
        and anchor["dataset"] == entry.dataset
        and all(entry.architecture.get(key) == value for key, value in architecture.items())
    )
