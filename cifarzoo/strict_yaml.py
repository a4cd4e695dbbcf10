"""YAML as people mean it: a repeated key is an error, and 1e-4 is a number, as in YAML 1.2."""

import re
from pathlib import Path
from typing import Any

import yaml

from cifarzoo.errors import ExperimentError


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                problem = f"the key {key} is repeated"
                raise yaml.constructor.ConstructorError(None, None, problem, node.value[position][0].start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def parse_all(text: str, location: str) -> list:
    """Return the documents of a text.

    Args:
        text: The text.
        location: Start of the error message.

    Raises:
        ExperimentError: it is not YAML, a key is repeated, or a value does not exist, such as 2024-02-30.
    """
    try:
        return list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, ValueError) as failure:
        mark = getattr(failure, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(failure, "problem", None) or failure).split())
        raise ExperimentError(f"{location}: not valid YAML{line}: {problem}") from None


def parse(text: str, location: str) -> Any:
    """Return the only document of a text, None if it is empty.

    Args:
        text: The text.
        location: Start of the error message.

    Raises:
        ExperimentError: as in `parse_all`, or there are several documents.
    """
    documents = parse_all(text, location)
    if len(documents) > 1:
        raise ExperimentError(f"{location}: expected one YAML document, got {len(documents)}")
    return documents[0] if documents else None


def read_text(path: Path, location: str = "") -> str:
    """Return the text of a file, or raise ExperimentError, which begins with `location` and the file's name."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ExperimentError(f"{location}{path}: cannot be read (not UTF-8 text)") from None
    except OSError as failure:
        raise ExperimentError(f"{location}{path}: cannot be read ({failure.strerror})") from None


def read_mapping(path: Path, content: str, location: str = "") -> dict:
    """Return the mapping in a YAML file.

    Args:
        path: The file.
        content: What the mapping holds, for the message.
        location: Start of the error message, before the file's name.

    Raises:
        ExperimentError: the file cannot be read, is not YAML or holds something else.
    """
    document = parse(read_text(path, location), f"{location}{path}")
    if not isinstance(document, dict):
        raise ExperimentError(f"{location}{path}: expected a mapping with {content}, got {document!r:.80}")
    return document
