"""Read experiments from YAML files: documents, recipes, grids and overrides."""

import functools
import itertools
import json
import re
from pathlib import Path

from pydantic import ValidationError

from cifarzoo import strict_yaml as yaml_texts
from cifarzoo.augment.policy_lists import check_policies, read_policies
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.schedules import Duration
from cifarzoo.experiment.schema import Experiment, TrainParameters

# The key of a grid whose values are laid over the whole document.
VARIANT = "variant"


def read_experiments(path: Path, overrides: list[str] = ()) -> list[Experiment]:
    """The experiments of a YAML file, one a document, or one for each combination of the values of its `grid`.

    Args:
        path: The file.
        overrides: `key=value` with dotted keys, values in YAML, applied to every document.

    Raises:
        ExperimentError: the file, the document or a key is wrong; one line says where and what was expected.
    """
    try:
        text = path.read_text()
        documents = yaml_texts.parse_all(text)
    except OSError as failure:
        raise ExperimentError(f"{path}: cannot be read ({failure.strerror})") from None
    except UnicodeDecodeError:
        raise ExperimentError(f"{path}: not text") from None
    except yaml_texts.Error as failure:
        where = f" at line {failure.problem_mark.line + 1}" if getattr(failure, "problem_mark", None) else ""
        problem = getattr(failure, "problem", None) or failure
        raise ExperimentError(f"{path}: not valid YAML{where}: {problem}") from None
    numbered = [(number, d) for number, d in enumerate(documents, start=1) if d is not None]
    if not numbered:
        raise ExperimentError(f"{path}: holds no experiment; a document needs at least `model: cifar_resnet20`")
    experiments = [e for number, document in numbered for e in _read_document(path, number, document, overrides)]
    _names_differ(path, experiments)
    return experiments


def _names_differ(path, experiments):
    seen = {}
    for experiment in experiments:
        key = (experiment.train_parameters.logdir, experiment.name)
        document = experiment._source.removeprefix(f"{path}, ")
        if key in seen:
            raise ExperimentError(
                f"{path}, {document}: the run {experiment.name!r} in {key[0]!r} is also that of {seen[key]}; "
                "set train_parameters.run_name"
            )
        seen[key] = document


def experiment_from(layers: list[dict], place: str) -> Experiment:
    """The experiment of several mappings, each laid over those before it; `place` is named in errors.

    Raises:
        ExperimentError: a key is wrong.
    """
    document = functools.reduce(_merge, layers, {})
    try:
        experiment = Experiment.model_validate(document)
    except ValidationError as failure:
        raise ExperimentError(f"{place}: {first_problem(failure)}") from None
    experiment._source = place
    return experiment


def _read_document(path, number, document, overrides):
    place = f"{path}, document {number}"
    if not isinstance(document, dict):
        raise ExperimentError(f"{place}: expected a mapping with `model`, got {document!r:.80}")
    if {"recipes", "rows"} <= set(document):
        raise ExperimentError(f"{place}: these are wanted rows; `cifarzoo factory --rows {path}` trains them")
    document, folders = _with_recipe(path, place, document)
    for override in overrides:
        _apply_override(document, override)
    points = _grid_points(document, place)
    _check_overrides(document.get("grid"), overrides, place)
    return [experiment_from([with_policies(d, folders, place)], place) for d in points]


# ------------------------------------------------------------------------------------------------ grids


def _grid_points(document, place):
    """The documents of all combinations of the grid's values, the last key's values changing fastest."""
    document = dict(document)
    grid = document.pop("grid", None)
    if grid is None:
        return [document]
    if not isinstance(grid, dict) or not grid:
        raise ExperimentError(f"{place}: grid: expected keys with their values, got {grid!r:.80}")
    axes = [_named_values(key, values, place) for key, values in grid.items()]
    parameters = document.get("train_parameters")
    base = parameters.get("run_name") if isinstance(parameters, dict) else None
    if base is None and "model" not in grid:
        base = document.get("model")
    points = []
    for combination in itertools.product(*axes):
        point = document
        for (_, value), key in zip(combination, grid, strict=True):
            sections = [] if key == VARIANT else key.split(".")
            point = _merge(point, functools.reduce(lambda inner, part: {part: inner}, reversed(sections), value))
        name = "-".join([*([] if base is None else [str(base)]), *(name for name, _ in combination)])
        points.append(_merge(point, {"train_parameters": {"run_name": name}}))
    return points


def _named_values(key, values, place):
    """One key of a grid: pairs of what a value is called in the run's name, and the value."""
    where = f"{place}: grid.{key}"
    if not isinstance(key, str) or key.split(".")[0] in ("grid", "recipe", "seeds") or key.endswith("run_name"):
        raise ExperimentError(f"{where}: no key of a grid; seeds have a list of their own, and names are derived")
    if isinstance(values, dict) and values:
        for name, value in values.items():
            if key == VARIANT and not isinstance(value, dict):
                raise ExperimentError(f"{where}.{name}: expected a mapping to lay over the document, got {value!r:.80}")
            if key == VARIANT and ("train_parameters", "run_name") in _paths(value):
                raise ExperimentError(f"{where}.{name}: has a run_name, but names are derived from those of the grid")
        return [(str(name), value) for name, value in values.items()]
    if not isinstance(values, list) or not values:
        raise ExperimentError(f"{where}: expected a list of values, or a mapping from names to values")
    if any(isinstance(value, dict | list) or value is None for value in values):
        raise ExperimentError(f"{where}: give values that are no numbers or words a name, as in {{short: {{...}}}}")
    if key == VARIANT:
        raise ExperimentError(f"{where}: expected a mapping from names to what is laid over the document")
    last = key.split(".")[-1]
    return [(value if isinstance(value, str) else f"{last}_{json.dumps(value)}", value) for value in values]


def _paths(value, above=()):
    """The places of all values of nested mappings."""
    if not isinstance(value, dict) or not value:
        return {above}
    return {path for key, inner in value.items() for path in _paths(inner, (*above, key))}


def _check_overrides(grid, overrides, place):
    """Refuse a `--set` of what the grid sets anyway, which would change nothing, or not everywhere."""
    for override in overrides:
        key = override.partition("=")[0]
        wanted = tuple(key.split("."))
        if wanted[0] == "grid":
            continue
        for name, values in (grid or {}).items():
            above = () if name == VARIANT else tuple(name.split("."))
            named = isinstance(values, dict)
            set_there = {path for value in (values.values() if named else values) for path in _paths(value, above)}
            for path in sorted(set_there, key=lambda path: (len(path), str(path))):
                if path[: len(wanted)] == wanted[: len(path)]:
                    raise ExperimentError(
                        f"--set {override}: {place} sets {'.'.join(path)} in its grid over {name}, so this would have "
                        f"no effect there; change it in the file, or set grid.{name}"
                    )


def with_policies(document: dict, folders: list[Path], place: str) -> dict:
    """The document with policy lists, checked, in the place of their files, which are looked for in `folders` first.

    A run then keeps what it was trained with, and a changed file is another experiment.

    Raises:
        ExperimentError: an entry of `augmentation` or a policy list does not fit; the message says where it stands.
    """
    entries = document.get("augmentation", "standard")
    if isinstance(entries, str):
        return document
    if not isinstance(entries, list):
        raise ExperimentError(
            f"{place}: augmentation: a name such as standard, or a list, is expected, got {entries!r:.80}"
        )
    entries = [_with_policies(entry, folders, f"{place}: augmentation[{n}]") for n, entry in enumerate(entries)]
    return document | {"augmentation": entries}


def _with_policies(entry, folders, place):
    if not isinstance(entry, str) and not (isinstance(entry, dict) and len(entry) == 1):
        raise ExperimentError(
            f"{place}: a name or one name with its parameters is expected, such as crop, {{cutout: {{size: 8}}}} or "
            f"{{policies: {{file: NAME}}}}, got {entry!r:.80}"
        )
    if isinstance(entry, str) or "policies" not in entry:
        return entry
    given = entry["policies"]
    if not isinstance(given, dict) or ("file" in given) == ("policies" in given):
        raise ExperimentError(f"{place}.policies: exactly one of `file` and `policies` is expected, got {given!r:.80}")
    try:
        if "policies" in given:
            check_policies(given["policies"], "policies")
            return entry
        beside = [folder / str(given["file"]) for folder in folders]
        policies = read_policies(next((path for path in beside if path.is_file()), given["file"]))
    except ExperimentError as failure:
        raise ExperimentError(f"{place}.{failure}") from None
    rest = {key: value for key, value in given.items() if key != "file"}
    return {"policies": rest | {"policies": [[list(o) for o in pair] for pair in policies]}}


# ------------------------------------------------------------------------------------------------ errors and merging


def first_problem(failure: ValidationError, checked: type = Experiment) -> str:
    """Where and what the first problem of a mapping is, in one line; `checked` is what it was checked as."""
    problem = failure.errors()[0]
    where = ".".join(str(part) for part in problem["loc"] if part not in ("function-after", "list"))
    message = re.sub("^Value error, ", "", problem["msg"])
    if problem["type"] == "extra_forbidden":
        depth = len(problem["loc"])
        if depth > 2 or (depth == 2 and problem["loc"][0] != "train_parameters"):
            return f"{where}: unknown key"
        section = TrainParameters if depth == 2 else checked
        return f"{where}: unknown key; known are {', '.join(section.model_fields)}"
    if problem["type"] == "missing":
        return f"{where}: missing, and required"
    if problem["type"] == "value_error" and not isinstance(problem["input"], (str, int, float)):
        return f"{where}: {message}" if where else message
    return f"{where}: {message}, got {problem['input']!r:.80}"


def _with_recipe(path, place, document):
    """The document on top of the recipe it names, if any, and the folders of both.

    `recipe: he2016` is recipes/he2016.yaml beside the file.
    """
    name = document.pop("recipe", None)
    if name is None:
        return document, [path.parent]
    candidates = [path.parent / f"{name}", path.parent / "recipes" / f"{name}.yaml"]
    for candidate in candidates:
        if candidate.is_file():
            recipe = read_mapping(candidate, "keys of an experiment", f"{place}: recipe ")
            return _merge(recipe, document), [path.parent, candidate.parent]
    looked = " and ".join(str(c) for c in candidates)
    raise ExperimentError(f"{place}: recipe {name!r} not found; looked for {looked}")


def read_mapping(path: Path, what: str, place: str = "") -> dict:
    """A YAML file that holds one mapping.

    Args:
        path: The file.
        what: What the mapping holds, for the message.
        place: What stands before the file's name in the message.

    Raises:
        ExperimentError: the file cannot be read, is no YAML or holds something else.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as failure:
        reason = getattr(failure, "strerror", None) or "not text"
        raise ExperimentError(f"{place}{path}: cannot be read ({reason})") from None
    found = parse_yaml(text, f"{place}{path}")
    if not isinstance(found, dict):
        raise ExperimentError(f"{place}{path}: expected a mapping with {what}, got {found!r:.80}")
    return found


def parse_yaml(text: str, place: str):
    """The value of a YAML text; ExperimentError with `place` where it is none."""
    try:
        return yaml_texts.parse(text)
    except yaml_texts.Error as failure:
        raise ExperimentError(f"{place}: not valid YAML: {getattr(failure, 'problem', failure)}") from None


def _merge(base, top):
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and not _replaces(value, merged[key])
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _replaces(value, other):
    """Whether a mapping stands in place of another rather than over it: a schedule of another kind, or a duration."""
    if "kind" in value:
        return value["kind"] != other.get("kind")
    return bool(value) and set(value) | set(other) <= set(Duration.model_fields)


def _apply_override(document, override):
    key, equals, value = override.partition("=")
    if not equals:
        raise ExperimentError(f"--set {override}: expected KEY=VALUE, for example train_parameters.batch_size=64")
    # A grid's keys are dotted themselves.
    *sections, last = ["grid", key[5:]] if key.startswith("grid.") else key.split(".")
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ExperimentError(f"--set {override}: {section} is not a section")
    target[last] = parse_yaml(value, f"--set {override}")


def quickstart_experiment(overrides: list[str] = ()) -> Experiment:
    """ResNet-20 on the embedded data set: a first run that needs no download."""
    document = {
        "model": "cifar_resnet20",
        "dataset": "synthetic",
        "description": "A first run: the embedded data set, minutes on two cores.",
        "train_parameters": {
            "run_name": "quickstart",
            "nesterov": True,
            "schedule": {"kind": "cosine", "peak": 0.1, "warmup": {"steps": 40}, "duration": {"steps": 400}},
            "log_interval": 50,
            "val_interval": 200,
            "checkpoint_interval": 200,
        },
    }
    for override in overrides:
        _apply_override(document, override)
    return experiment_from([with_policies(document, [Path()], "quickstart")], "quickstart")
