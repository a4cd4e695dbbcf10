"""Measure published files again and compare them with the manifest."""

from collections.abc import Iterator

from cifarzoo.data import load
from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.evaluation.evaluate import Progress, evaluate
from cifarzoo.evaluation.load_model import load_published
from cifarzoo.evaluation.text import METRIC_LABELS
from cifarzoo.pretrained.manifest import Published, manifest

# How much NLL, Brier score and ECE may differ between devices: float32 rounding changes likelihoods slightly, and may
# swap two nearly equal logits of an image.
ROUNDING = 2e-4


def evaluate_published(
    dataset_name: str | None = None, data_dir: str | None = None, progress: Progress = lambda step, done: None
) -> Iterator[tuple[Published, dict | None, str]]:
    """Measure every published file on the test images again and compare it with the manifest.

    Args:
        dataset_name: Only files of this data set. Default: all.
        data_dir: Folder of the archives.
        progress: Called before each file.

    Yields:
        Per file: its manifest entry, its metrics (None if it cannot be evaluated), and one line about what differs, ""
        if nothing does (see `differences`).

    Raises:
        DataError: no file of this data set, or no archive of it.
    """
    entries = [entry for entry in manifest() if dataset_name in (None, entry.dataset)]
    if not entries:
        raise DataError(f"no published weights for the data set {dataset_name!r}")
    datasets = {name: load(name, data_dir) for name in {entry.dataset for entry in entries}}
    for number, entry in enumerate(entries):
        begun, text = number / len(entries), f"{entry.tag} ({number + 1} of {len(entries)})"
        progress(text, begun)
        try:
            metrics, _ = evaluate(
                load_published(entry),
                datasets[entry.dataset],
                progress=lambda done, begun=begun, text=text: progress(text, begun + done / len(entries)),  # type: ignore[misc]
            )
        except CifarzooError as failure:
            yield entry, None, str(failure)
            continue
        yield entry, metrics, differences(metrics, entry.metrics)


def differences(metrics: dict, published: dict) -> str:
    """List the metrics that differ from the manifest's by more than one image or `ROUNDING`; "" if none does."""
    lines = [f"{metrics['n']} images instead of {published['n']}"] if metrics["n"] != published["n"] else []
    for key, label in METRIC_LABELS.items():
        tolerance = 100 / published["n"] if key.endswith("error") else ROUNDING
        if not abs(metrics[key] - published[key]) <= tolerance * (1 + 1e-6):  # also true for NaN
            lines.append(f"{label} {metrics[key]:.6g} instead of {published[key]:.6g}")
    return ", ".join(lines)
