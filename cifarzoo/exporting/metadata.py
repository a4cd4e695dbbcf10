"""What an exported file says about itself: the network, its weights, classes, license and error."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarzoo._version import __version__
from cifarzoo.checksum import sha256
from cifarzoo.errors import CifarzooError, ExportError
from cifarzoo.inference.class_names import class_names_of
from cifarzoo.pretrained.description import description_of
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.pretrained.selection import foreign_entry, source_named
from cifarzoo.runs.folder import RunFolder

if TYPE_CHECKING:
    from cifarzoo.evaluation.load_model import LoadedModel

NORMALIZED_INSIDE = "RGB pixels 0-255, which the network normalizes"
NORMALIZED_OUTSIDE = "RGB pixels that are normalized as in training"


def facts_of(loaded: "LoadedModel", class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what a file is to say about itself; unknown facts are left out.

    Args:
        loaded: The model. Its `source` is "" for a model from memory, whose weights may not come from a file.
        class_names: Names of its classes. Default: those that its weights record, or else those of the data set that it
            was trained on; none if only the number of outputs suggests a data set.

    Returns:
        `producer`, `model` (the call that builds it), `source` (tag or file), `weights_sha256` (of the source's file),
        `dataset`, `class_names`, `input`, `output`, `license`, and `error_percent` of the source's weights on the test
        images, as published, reported or measured at the end of the run.

    Raises:
        ExportError: the model has another number of outputs than there are names.
    """
    description = description_of(loaded.model)
    names, unsure = class_names_of(loaded)
    if class_names is not None:
        if len(class_names) != len(names):
            raise ExportError(f"{loaded.model.name}: has {len(names)} outputs, got {len(class_names)} names of classes")
        names, unsure = tuple(class_names), ""
    inside = description is None or description.statistics is not None
    activation = description.activation if description else None
    facts: dict[str, Any] = {
        "producer": f"cifarzoo {__version__}",
        "model": str(description) if description else loaded.model.name,
        "source": Path(loaded.source).name if Path(loaded.source).exists() else loaded.source,
        "dataset": None if loaded.is_guess else loaded.dataset,
        "class_names": None if unsure else list(names),
        "input": f"float32 [batch, height, width, 3], {NORMALIZED_INSIDE if inside else NORMALIZED_OUTSIDE}",
        "output": "float32 [batch, classes], " + (activation or "logits"),
    }
    if loaded.source:
        facts |= _facts_of_weights(loaded.source)
    return {key: value for key, value in facts.items() if value}


def _facts_of_weights(source: str) -> dict[str, Any]:
    """Return hash, license and error of the weights that a model was loaded from."""
    if Path(source).is_dir():
        folder = RunFolder(source)
        results = folder.results()
        error = round(results.metrics["error"], 4) if results.split == "test" else None
        return {"weights_sha256": sha256(folder.final_weights()), "error_percent": error}
    if Path(source).is_file():
        digest = sha256(Path(source))
        entry = next((entry for entry in manifest() if entry.sha256 == digest), None)
        return {"weights_sha256": digest} | _published(entry)
    if entry := next((entry for entry in manifest() if source in (entry.tag, *entry.aliases)), None):
        return {"weights_sha256": entry.sha256} | _published(entry)
    try:
        foreign = foreign_entry(source)
    except CifarzooError:
        foreign = None
    if foreign is None:
        return {}
    from cifarzoo.models.registry import build_described

    path = source_named(source, build_described).path
    return {"weights_sha256": sha256(path), "license": foreign.license, "error_percent": foreign.error}


def _published(entry: Any) -> dict[str, Any]:
    return {} if entry is None else {"license": entry.license, "error_percent": round(entry.metrics["error"], 4)}


def as_texts(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts as texts by key, for formats that hold nothing else; lists as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def as_files(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts as text files by name: all of them, and the class names one per line."""
    files = {"cifarzoo.json": json.dumps(facts, indent=2) + "\n"}
    if facts.get("class_names"):
        files["labels.txt"] = "\n".join(facts["class_names"]) + "\n"
    return files
