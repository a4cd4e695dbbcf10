"""The reference of all keys of experiments files, from their JSON schema."""

import json
import re
from typing import Any

from cifarzoo.experiment.json_schema import SCHEMA

HEADER = """# All keys

Generated from the schema that `cifarzoo schema` prints. [Experiments files](experiments.md) explains the keys; here is
what each accepts. A value that the schema does not allow is an error with its line, before anything trains.

"""
# Definitions that have a page of their own, by the first word of their names.
_EXPERIMENT, _TRAINING = "The document", "TrainParameters"
_LARGEST = 2**31 - 1  # the bound of all whole numbers, which says nothing


def page() -> str:
    """Return the text of the page."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = schema["$defs"]
    order = [_TRAINING, *sorted(name for name in parts if name != _TRAINING)]
    sections = [f"## {_EXPERIMENT}\n\n{_table(schema['properties'])}"]
    sections += [_section(name, parts[name]) for name in order if parts[name].get("properties")]
    return HEADER + "\n\n".join(sections) + "\n"


def _section(name, part):
    title = "`train_parameters`" if name == _TRAINING else name
    about, meanings = _described(part.get("description", ""))
    more = "\n\nFurther keys are passed on as arguments." if part.get("additionalProperties") is True else ""
    return f"## {title} {{ #{name.lower()} }}\n\n{about}{more}\n\n{_table(part['properties'], meanings)}"


def _described(docstring) -> tuple[str, dict[str, str]]:
    """Return a class's documentation without the list of attributes, and what the list says of each."""
    about, _, attributes = docstring.partition("Attributes:\n")
    about = re.sub(r"[Ss]ee `cifarzoo\.[\w.]+`", "", about).strip().rstrip(";. ")
    meanings = {}
    for names, meaning in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE):
        meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return re.sub(r"(?<![(<])https://[^\s),]+", r"<\g<0>>", about) + ("." if about else ""), meanings


def _table(properties: dict[str, Any], meanings: dict[str, str] | None = None) -> str:
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in properties.items():
        text, _, default = value.get("description", (meanings or {}).get(key, "")).partition("\nDefault: ")
        default = f"`{default}`" if re.search(r"[\[{\d_]", default) or default in ("true", "false") else default
        lines.append(f"| `{key}` | {_cell(_kind(value))} | {_cell(default)} | {_cell(text)} |")
    return "\n".join(lines)


def _cell(text):
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _kind(value: dict[str, Any]) -> str:
    """Describe the values that a schema allows, with links to the definitions below."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{'section' if name == _TRAINING else name}](#{name.lower()})"
    if "const" in value:
        return f"`{json.dumps(value['const']).strip(chr(34))}`"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(one).strip(chr(34))}`" for one in value["enum"])
    for several in ("anyOf", "allOf"):
        if several in value:
            kinds = list(dict.fromkeys(_kind(one) for one in value[several] if one != {"type": "null"}))
            return " or ".join(kind for kind in kinds if kind)
    match value.get("type"):
        case "array":
            items = value.get("items")
            return f"list of {_kind(items)}" if items else "list"
        case "object":
            return "section"
        case "integer":
            return "whole number" + _bounds(value)
        case "number":
            return "number" + _bounds(value)
        case "boolean":
            return "`true`, `false`"
        case "string":
            return "text"
    return "any"


def _bounds(value):
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[key]}" for key, sign in signs.items() if key in value and value[key] < _LARGEST]
    return " " + ", ".join(bounds) if bounds else ""
