"""YAML as people mean it: plain data within limits, no repeated keys, and 1e-4 is a number, as in YAML 1.2.

Any text is read or refused with one line, in about a second and little memory. Texts that are too long, too deeply
nested, or have too many values (counting what an alias repeats) are refused. What cifarzoo wrote may have any length.
"""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from cifarzoo.errors import ExperimentError

# Limits of one text. Fast AutoAugment's list of 493 sub-policies has 4,400 values.
MAX_BYTES = 500_000
MAX_VALUES = 20_000
MAX_DEPTH = 50

# Maximum length of a quotation in a message.
EXCERPT = 80

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
_PLAIN = {
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge", "value")
}
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}


def excerpt(value: Any) -> str:
    """Format a value for a message: on one line, short, without control characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # such as an integer of more than 4,300 digits
        text = f"a huge {type(value).__name__}"
    return clipped(text)


def clipped(text: str, length: int = EXCERPT) -> str:
    """Cut a text for a message to at most `length` characters, with "?" in place of control characters."""
    text = "".join(character if character.isprintable() else "?" for character in text[: length + 1])
    return text if len(text) <= length else f"{text[: length - 3]}..."


def quoted(text: Any) -> str:
    """Format a key or name for a message, without quotes unless it is long or not a single word."""
    return text if isinstance(text, str) and re.fullmatch(r"[\w.+*/-]{1,60}", text) else excerpt(text)


class _Loader(yaml.SafeLoader):
    """Compose and construct within the limits; every error names the line of its cause."""

    def __init__(self, text):
        super().__init__(text)
        self._max_values, self._max_characters = MAX_VALUES, MAX_BYTES
        self._depth = self._values = self._characters = 0
        self._size_of = {}

    def compose_document(self):
        self._size_of = {}  # ids are unique only among the nodes of one document
        return super().compose_document()

    def compose_node(self, parent, index):
        event, values, characters = self.peek_event(), self._values, self._characters
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._size_of:
                raise _problem(f"the alias *{quoted(event.anchor)} lies inside what it repeats", event)
            repeated = self._size_of[id(node)]
            self._values += repeated[0]
            self._characters += repeated[1]
        else:
            self._depth += 1
            self._values += 1
            if self._depth > MAX_DEPTH:
                raise _problem(f"nested more than {MAX_DEPTH} levels deep", event)
            node = super().compose_node(parent, index)
            self._depth -= 1
            if isinstance(node, yaml.ScalarNode):
                self._characters += len(node.value)
            self._size_of[id(node)] = self._values - values, self._characters - characters
        if self._values > self._max_values:
            raise _problem(f"more than {self._max_values:,} values, with those that aliases repeat", event)
        if self._characters > self._max_characters:
            raise _problem(f"more than {self._max_characters:,} characters, with those that aliases repeat", event)
        return node

    def construct_object(self, node, deep=False):
        if node.tag not in _PLAIN:
            kind = quoted(node.tag.removeprefix("tag:yaml.org,2002:"))
            if kind == "timestamp" and node.value:
                raise _problem(f"{quoted(node.value)} is a date; put it in quotes if it is text", node)
            raise _problem(f"a value of type {kind}; expected text, numbers, booleans, lists and mappings", node)
        if node.tag in _NUMBERS and (":" in node.value or re.fullmatch("[-+]?0[0-9_]+", node.value)):
            # YAML 1.1 reads 010 as 8 and 1:30 as 90.
            raise _problem(
                f"{quoted(node.value)} is an octal or base 60 number; write it in decimal, or in quotes", node
            )
        if node.tag == "tag:yaml.org,2002:value":  # "=" is reserved in YAML 1.1
            node.tag = "tag:yaml.org,2002:str"
        try:
            value = super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError):
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            raise _problem(f"{excerpt(node.value)} is not a valid {kind}", node) from None
        if isinstance(value, int) and abs(value) >= 2**63:
            raise _problem(f"{quoted(node.value)} is an integer of more than 64 bits", node)
        return value

    def construct_mapping(self, node, deep=False):
        first = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in first:
                    raise _problem(f"the key {quoted(key.value)} is repeated", key)
                first.add(key.value)
        return super().construct_mapping(node, deep)


class _LongLoader(_Loader):
    """Read a text of any length, which bounds what its aliases may repeat."""

    def __init__(self, text):
        super().__init__(text)
        # A mapping of keys alone, {a,b}, has about as many values as characters.
        self._max_values, self._max_characters = max(MAX_VALUES, 2 * len(text)), max(MAX_BYTES, len(text))


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


class _Dumper(yaml.SafeDumper):
    """Quote what `_Loader` would read as a number."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def _problem(text, node):
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


def dump(document: Any) -> str:
    """Return plain data as YAML that `parse` reads as the same data; keys keep their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)


def parse_all(text: str, location: str, *, any_length: bool = False) -> list:
    """Return the documents of a text.

    Args:
        text: The text.
        location: Start of the error message.
        any_length: Whether to read a text of any length, in time that grows with it; what aliases repeat stays limited.

    Raises:
        ExperimentError: the text is not YAML, a key is repeated, a value is not text, a number, a boolean, a list or a
            mapping, or the text exceeds the limits of this module.
    """
    if len(text) > MAX_BYTES and not any_length:
        raise ExperimentError(f"{location}: longer than {MAX_BYTES:,} bytes")
    try:
        return list(yaml.load_all(text, _LongLoader if any_length else _Loader))
    except yaml.reader.ReaderError as failure:
        number = text.count("\n", 0, failure.position) + 1
        problem = f"the character U+{failure.character:04X} is not allowed"
        raise ExperimentError(f"{location}: not valid YAML at line {number}: {problem}") from None
    except (yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError) as failure:
        mark = getattr(failure, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(failure, "problem", None) or failure).split())
        raise ExperimentError(f"{location}: not valid YAML{line}: {problem:.160}") from None


def parse(text: str, location: str, *, any_length: bool = False) -> Any:
    """Return the only document of a text, None if it is empty.

    Args:
        text: The text.
        location: Start of the error message.
        any_length: As in `parse_all`.

    Raises:
        ExperimentError: as in `parse_all`, or there are several documents.
    """
    documents = parse_all(text, location, any_length=any_length)
    if len(documents) > 1:
        raise ExperimentError(f"{location}: expected one YAML document, got {len(documents)}")
    return documents[0] if documents else None


def shown(path: Path | str) -> str:
    """Format a path for a message, in quotes only if it is long or has control characters."""
    text = str(path)
    return text if text.isprintable() and len(text) <= 250 else excerpt(text)


def existing_file(candidates: Iterable[Path]) -> Path | None:
    """Return the first path that is a regular file, or None; impossible paths are skipped."""
    return next((path for path in candidates if os.path.isfile(path)), None)


def read_text(path: Path, location: str = "", *, pipe: bool = False) -> str:
    """Return the text of a file.

    Args:
        path: The file.
        location: Start of the error message.
        pipe: Whether the file may also be a pipe. Documents must not name pipes, because reading one may never end.

    Raises:
        ExperimentError: the file cannot be read, is not UTF-8 or is longer than `MAX_BYTES`. The message begins with
            `location` and the file's name.
    """
    if not pipe and existing_file([path]) is None and os.path.exists(path):
        raise ExperimentError(f"{location}{shown(path)}: cannot be read (not a file)")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ExperimentError(f"{location}{shown(path)}: longer than {MAX_BYTES:,} bytes")
        # Accept any line ending, as when reading in text mode.
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise ExperimentError(f"{location}{shown(path)}: cannot be read (not UTF-8 text)") from None
    except ValueError as failure:
        raise ExperimentError(f"{location}{shown(path)}: cannot be read ({failure})") from None
    except OSError as failure:
        raise ExperimentError(f"{location}{shown(path)}: cannot be read ({failure.strerror})") from None


def read_mapping(path: Path, content: str, location: str = "") -> dict:
    """Return the mapping in a YAML file.

    Args:
        path: The file.
        content: What the mapping holds, for the message.
        location: Start of the error message, before the file's name.

    Raises:
        ExperimentError: the file cannot be read, is not YAML or holds something else.
    """
    document = parse(read_text(path, location), f"{location}{shown(path)}")
    if not isinstance(document, dict):
        raise ExperimentError(f"{location}{shown(path)}: expected a mapping with {content}, got {excerpt(document)}")
    return document
