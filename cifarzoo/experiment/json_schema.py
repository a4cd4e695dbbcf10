"""The JSON schema of experiments files, which lets editors complete keys and mark mistakes: experiments.schema.json.

Generate it with `python -m cifarzoo.experiment.json_schema` in a checkout; its descriptions come from
docs/experiments.md. It is less strict than the reader: no key is required, because a recipe may provide it.
"""

import json
import re
from pathlib import Path
from typing import Any

from cifarzoo.augment.spec import PIPELINES, SPECS
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.experiment.schema import Experiment

SCHEMA = Path(__file__).with_name("experiments.schema.json")
_PAGE = Path(__file__).resolve().parents[2] / "docs" / "experiments.md"

# Names of bounds in pydantic's schema where it does not know that the value is a number.
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_NAMED = {"type": "object", "minProperties": 1}
_GRID = {"type": "object", "additionalProperties": {"anyOf": [{"type": "array", "minItems": 1}, _NAMED]}}


def json_schema() -> dict[str, Any]:
    """Return the schema of one document, JSON Schema draft 2020-12."""
    schema = _simplified(Experiment.model_json_schema())
    parts, keys = schema["$defs"], schema["properties"]
    parts.pop("InMemory"), keys.pop("in_memory")
    keys["dataset"]["anyOf"][0] = {"enum": list(CLASS_NAMES)}
    keys["augmentation"] = {"anyOf": [{"enum": list(PIPELINES)}, {"type": "array", "items": _entries()}]}
    keys["labels"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Labels"}]}
    for split in ("train", "test"):
        parts["Labels"]["properties"][split] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/LabelFile"}]}
    keys |= {"recipe": {"type": "string"}, "grid": _GRID, "seed": keys["seeds"]["items"]}
    parts["PolicyList"]["properties"]["file"] = {"type": "string"}
    numbers = {"type": "array", "items": {"type": "number"}}
    parts["Stepped"]["properties"] |= {"learning_rate": {"type": "number"}, "factors": numbers}
    described = _descriptions()
    for key, value in (keys | parts["TrainParameters"]["properties"]).items():
        if key in described:
            value["description"] = described[key]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A document of an experiments file of cifarzoo",
        **schema,
        "anyOf": [{"required": [key]} for key in ("model", "recipe", "grid")],
    }


def _entries() -> dict[str, Any]:
    """Return the schema of an entry of an augmentation: a name, or one name with its parameters."""
    entries = [
        {
            "type": "object",
            "properties": {name: {"anyOf": [{"$ref": f"#/$defs/{spec.__name__}"}, {"type": "null"}]}},
            "required": [name],
            "additionalProperties": False,
        }
        for name, spec in SPECS.items()
    ]
    text = {"type": "string"}
    own = [
        {"type": "object", "properties": dict.fromkeys(keys, text), "required": list(keys)}
        for keys in (("module", "name"), ("keras",))
    ]
    return {"anyOf": [{"enum": list(SPECS)}, *entries, *own]}


def _simplified(schema: Any) -> Any:
    """Remove titles, defaults and `required`, and give the bounds of numbers their standard names."""
    if isinstance(schema, list):
        return [_simplified(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            inner[key] = {name: _simplified(part) for name, part in value.items()}
        elif key not in ("title", "default", "required", "discriminator"):
            inner[_BOUNDS.get(key, "anyOf" if key == "oneOf" else key)] = _simplified(value)
    return inner


def _descriptions() -> dict[str, str]:
    """Return the meaning of every key in the tables of docs/experiments.md, with its default, as plain text."""
    described = {}
    for keys, default, meaning in re.findall(
        r"^\| (`.*?) \| (.*?) \| (.*) \|$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        names = re.findall(r"`(\w+)`", keys)
        defaults = (
            default.split(", ") if len(names) > 1 and default.count(", ") == len(names) - 1 else [default] * len(names)
        )
        for name, value in zip(names, defaults, strict=True):
            text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", meaning)
            described[name] = f"{text[:1].upper()}{text[1:]}.\nDefault: {value.replace('`', '')}".replace("`", "")
    return described


def text() -> str:
    """Return the content of the file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text(), encoding="utf-8", newline="\n")
