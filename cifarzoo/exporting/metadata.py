"""What an exported file says about itself: the network, its weights, classes, license and error."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarzoo._version import __version__
from cifarzoo.checksum import sha256
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.errors import CifarzooError
from cifarzoo.pretrained.description import description_of
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.pretrained.selection import foreign_entry, source_named
from cifarzoo.runs.folder import RunFolder

if TYPE_CHECKING:
    from cifarzoo.evaluation.load_model import LoadedModel

NORMALIZED_INSIDE = "RGB pixels 0-255, which the network normalizes"
NORMALIZED_OUTSIDE = "RGB pixels that are normalized as in training"


def facts_of(loaded: "LoadedModel", class_names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return what a file is to say about itself; unknown facts are left out.

    Args:
        loaded: The model.
        class_names: Names of its classes, if the caller knows them. Default: those of its data set, if it is built in.

    Returns:
        `producer`, `model` (the call that builds it), `source` (tag or file), `weights_sha256` (of the source's file),
        `dataset`, `class_names`, `input`, `output`, `license`, and `error_percent` of the source's weights on the test
        images, as published or reported with them.
    """
    description = description_of(loaded.model)
    outputs = loaded.model.output_shape[-1]
    names = class_names or CLASS_NAMES.get(loaded.dataset, ((),))[0]
    inside = description is None or description.statistics is not None
    activation = description.activation if description else None
    facts: dict[str, Any] = {
        "producer": f"cifarzoo {__version__}",
        "model": str(description) if description else loaded.model.name,
        "source": Path(loaded.source).name if Path(loaded.source).exists() else loaded.source,
        "dataset": loaded.dataset,
        "class_names": list(names) if len(names) == outputs else None,
        "input": f"float32 [batch, height, width, 3], {NORMALIZED_INSIDE if inside else NORMALIZED_OUTSIDE}",
        "output": "float32 [batch, classes], " + (activation or "logits"),
    }
    facts |= _facts_of_weights(loaded.source)
    return {key: value for key, value in facts.items() if value is not None}


def _facts_of_weights(source: str) -> dict[str, Any]:
    """Return hash, license and error of the weights that a model was loaded from."""
    if Path(source).is_dir():
        folder = RunFolder(source)
        return {
            "weights_sha256": sha256(folder.final_weights()),
            "error_percent": round(folder.results().metrics["error"], 4),
        }
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
