"""Import other projects' checkpoints, and measure them on all test images."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from cifarzoo._version import __version__
from cifarzoo.conversion.cache import weight_file
from cifarzoo.conversion.entries import Entry
from cifarzoo.data import load
from cifarzoo.errors import summarize
from cifarzoo.evaluation.evaluate import Progress, evaluate
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.models import registry
from cifarzoo.models.load import load as load_weights
from cifarzoo.pretrained.description import read_description
from cifarzoo.runs import atomic


def import_checkpoint(
    entry: Entry,
    file: Path | None = None,
    measure: bool = False,
    data_dir: str | None = None,
    progress: Progress = lambda step, done: None,
    again: bool = True,
) -> dict[str, Any]:
    """Convert a checkpoint, downloading it if necessary.

    Args:
        entry: Its entry in the table.
        file: The checkpoint, if the user already has it.
        measure: Whether to measure the error on all test images.
        data_dir: Folder of the archives, to measure.
        progress: Called with the name of the step and the fraction done, from 0 to 1.
        again: Whether to measure again what was measured before; the result lies beside the weight file.

    Returns:
        `name`, `path` of the weight file, `model`, `dataset`, `statistics`, `license`, `homepage`, `sha256` of each
        file of the source, `verified` (how, in words), `content_sha256` of the converted weights, `reported_error` and
        how it came about (`selection`, `protocol`), `remark`; with `measure` also `error`, `images` and `backend`.

    Raises:
        CifarzooError: the checkpoint cannot be had, does not fit, or cannot be measured.
    """
    half = 0.5 if measure else 1.0

    def arrived(count: int, expected: int | None) -> None:
        progress(f"download {entry.name}", half * count / expected if expected else 0)

    progress(f"convert {entry.name}", 0)
    path = weight_file(entry, registry.build_described, file, arrived)
    description = read_description(path)
    source = description.facts if description else {}
    row: dict[str, Any] = {
        "name": entry.name,
        "path": str(path),
        "model": str(description),
        "dataset": entry.dataset,
        "statistics": entry.statistics,
        "license": entry.license,
        "homepage": entry.homepage,
        "sha256": list(source.get("files", {}).values()),
        "verified": source.get("verified"),
        "content_sha256": source.get("content_sha256"),
        "reported_error": entry.error,
        "selection": entry.selection,
        "protocol": entry.protocol,
        "remark": entry.remark,
    }
    if measure:
        of = {"content_sha256": row["content_sha256"], "backend": keras.backend.backend(), "version": __version__}
        kept = path.with_name(f"{path.name}.error.json")
        result = None if again else _kept(kept, of)
        if result is None:
            dataset = load(entry.dataset, data_dir)
            metrics, _ = evaluate(
                LoadedModel(load_weights(path), entry.dataset, entry.name),
                dataset,
                progress=lambda done: progress(f"measure {entry.name}", half + (1 - half) * done),
            )
            result = {"error": round(metrics["error"], 4), "images": metrics["n"], "backend": of["backend"]}
            atomic.write_text(kept, json.dumps({"of": of, "result": result}, indent=2))
        row |= result
    return row


def _kept(path: Path, of: dict[str, Any]) -> dict[str, Any] | None:
    """Return a result that was measured before, or None if there is none of the same weights on the same backend."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["result"] if kept["of"] == of else None
    except (OSError, ValueError, LookupError, TypeError):  # there is none, or it is damaged
        return None


def import_all(
    entries: Sequence[Entry],
    measure: bool = False,
    data_dir: str | None = None,
    progress: Progress = lambda step, done: None,
) -> Iterator[dict[str, Any]]:
    """Import several checkpoints; one that fails does not stop the others. What is in the cache is neither made nor
    measured again.

    Keras forgets the models that it built before.

    Yields:
        What `import_checkpoint` returns, or `name`, `reported_error`, `selection` and `failure`, why there is no more.
    """
    for number, entry in enumerate(entries):

        def show(step: str, done: float, number: int = number) -> None:
            progress(f"{step} ({number + 1} of {len(entries)})", (number + done) / len(entries))

        keras.utils.clear_session()  # the networks before this one, of up to 37 million parameters each
        try:
            yield import_checkpoint(entry, None, measure, data_dir, show, again=False)
        except Exception as failure:  # the memory may suffice for the others
            yield {
                "name": entry.name,
                "dataset": entry.dataset,
                "reported_error": entry.error,
                "selection": entry.selection,
                "failure": summarize(failure),
            }
