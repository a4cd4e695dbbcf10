"""Describe the mistakes that a `Strict` model finds in a document in plain words: one line each, with the key."""

import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from cifarzoo.errors import ExperimentError, MistakesError
from cifarzoo.strict_yaml import excerpt, quoted

# Maximum number of lines in an error.
MOST_LINES = 20

# Messages by the type of pydantic's error, filled in with values of its context.
_EXPECTED = {
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "invalid_key": "expected keys that are text",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "expected a list",
    "literal_error": "expected {expected}",
    "model_type": "expected a mapping",
    "string_too_long": "must have at most {max_length} characters",
    "string_type": "expected text",
    "too_long": "expected at most {max_length} value(s)",
    "too_short": "expected at least {min_length} value(s)",
    "tuple_type": "expected a list",
}


def plain_error(failure: ValidationError, model: type[BaseModel], document: Any, location: str = "") -> ExperimentError:
    """Return an error with one line per mistake: "experiments.yaml, document 1: seeds[1]: must be at least 0, got -1".

    Args:
        failure: The error.
        model: The model class.
        document: The document that was validated.
        location: Start of every line.
    """
    start = f"{location}: " if location else ""
    problems = [_problem(problem, model, document) for problem in failure.errors()]
    return error_of(f"{start}{line}" for problem in problems for line in problem.splitlines())


def error_of(lines: Iterable[str]) -> ExperimentError:
    """Return the error that reports the lines: each line once, and at most `MOST_LINES` lines."""
    lines = list(dict.fromkeys(lines))
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"... and {len(lines) - MOST_LINES + 1} more mistakes"]
    return MistakesError("\n".join(lines)) if len(lines) > 1 else ExperimentError(*lines)


def _problem(problem, model, document):
    path, section = _locate(problem["loc"], model, document)
    kind, received = problem["type"], problem["input"]
    context = {key: _plain(value) for key, value in problem.get("ctx", {}).items()}
    key, is_index = "".join(path).removeprefix("."), bool(path) and path[-1].startswith("[")
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {advice(problem['loc'][-1], section, model)}"
    if kind == "missing" and is_index:  # of a tuple
        return f"{''.join(path[:-1]).removeprefix('.')}: too few values, got {excerpt(received)}"
    if kind == "missing":
        return f"{key}: missing, but required"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        names = ", ".join(tag for branch in section for tag in _tags(branch)[1:])
        got = f", got {excerpt(received['kind'])}" if kind == "union_tag_invalid" else ""
        return f"{key}.kind: expected one of {names}{got}"
    message = re.sub("^Value error, ", "", problem["msg"])
    if kind in _EXPECTED:
        message = _EXPECTED[kind].format_map(context)
    if kind != "value_error" or message.startswith(("expected", "must")):
        message += "" if ", got " in message else f", got {excerpt(received)}"
    return f"{key}: {message}" if key else message


def _plain(value):
    """Return a bound that is written as 1000000, not as 1e+06."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _locate(location, model, document):
    """Return a mistake's keys as text, without the union branches that pydantic adds, and the models of its section.

    `("augmentation", "list", 1, "crop")` becomes `[".augmentation", "[1]", ".crop"]`.
    """
    kinds, path = [model], []
    for number, part in enumerate(location):
        inner = [branch for kind in kinds for branch in _inner(kind, part)]
        is_in_document = _has(document, part)
        if inner or is_in_document or (number == len(location) - 1 and isinstance(part, int)):
            is_index = isinstance(part, int) and not isinstance(document, dict)
            path.append(f"[{part}]" if is_index else f".{quoted(part)}")
            document = document[part] if is_in_document else None
        if inner:
            kinds = inner
        elif not is_in_document:
            kinds = [kind for kind in kinds if part in _tags(kind)] or kinds
    return path, [kind for kind in kinds if _is_model(kind)]


def _has(document, part):
    if isinstance(document, dict):
        return part in document
    return isinstance(document, list | tuple) and isinstance(part, int) and part < len(document)


def _is_model(kind):
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inner(kind, part) -> Iterator[Any]:
    """Yield the possible types of the value under a key or index of a type."""
    if _is_model(kind):
        if part in kind.model_fields:
            yield from _branches(kind.model_fields[part].annotation)
    elif isinstance(part, int) and typing.get_origin(kind) in (list, tuple):
        for argument in typing.get_args(kind):
            yield from _branches(argument)


def _branches(kind) -> Iterator[Any]:
    """Yield the members of a union, without annotations; for any other type, the type itself."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        yield from _branches(typing.get_args(kind)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(kind):
            yield from _branches(member)
    elif kind is not type(None):
        yield kind


def _tags(kind):
    """Return the names under which pydantic lists a model that is a member of a union."""
    if not _is_model(kind):
        return ()
    field = kind.model_fields.get("kind")
    return (kind.__name__, *(() if field is None else (field.default,)))


def advice(key: Any, section: list[type[BaseModel]], root: type[BaseModel]) -> str:
    """Say what to write instead of an unknown key.

    Args:
        key: The key.
        section: The models whose keys are valid there.
        root: The model of the whole document.
    """
    names = list(dict.fromkeys(field for model in section for field in (*model.model_fields, *_further_keys(model))))
    hints = {hinted: hint for model in section for hinted, hint in getattr(model, "hints", {}).items()}
    homes, word = _homes(root), str(key)
    names = [name for name in names if name != word]
    if word in hints:
        return hints[word]
    if near := difflib.get_close_matches(word, names, n=2, cutoff=0.75):
        return f"did you mean {' or '.join(near)}?"
    if word in homes:
        if root in section and not homes[word]:  # a further key, which is handled elsewhere
            return "it has no meaning here"
        return f"write it in {homes[word]}" if homes[word] else "write it at the top level of the document"
    if near := difflib.get_close_matches(word, hints, n=1, cutoff=0.8):
        return hints[near[0]]
    if near := difflib.get_close_matches(word, homes, n=2):
        paths = [f"{homes[name]}.{name}".removeprefix(".") if name not in names else name for name in near]
        return f"did you mean {' or '.join(paths)}?"
    return f"known are {', '.join(names)}"


def _further_keys(model):
    return getattr(model, "further_keys", ())


def _homes(model, above="", depth=2):
    """Return the section in which each key belongs; "" is the top level."""
    homes = dict.fromkeys((*model.model_fields, *_further_keys(model)), above)
    if depth:
        for field, info in model.model_fields.items():
            for kind in _branches(info.annotation):
                if _is_model(kind):
                    homes = _homes(kind, f"{above}.{field}".removeprefix("."), depth - 1) | homes
    return homes
