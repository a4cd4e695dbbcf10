"""Read experiments from YAML files: documents with recipes, grids and overrides."""

import copy
import difflib
import fnmatch
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cifarzoo.augment.base import Spec
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.grids import MAX_EXPERIMENTS, expand, varied_keys
from cifarzoo.experiment.merging import apply_override, merge, shortened
from cifarzoo.experiment.recipe_files import find_recipe
from cifarzoo.experiment.schema import Experiment
from cifarzoo.experiment.shipped import locate
from cifarzoo.strict_errors import error_of, plain_error
from cifarzoo.strict_yaml import excerpt, parse_all, read_text, shown

QUICKSTART = {
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


def read_experiments(path: str | os.PathLike, overrides: Sequence[str] = ()) -> list[Experiment]:
    """Read the experiments of a YAML file: one per document, or one per combination of the values of its `grid`.

    Args:
        path: The file; `@NAME` is one that comes with cifarzoo, such as `@vgg`, and `@NAME/EXPERIMENT` one of its
            experiments.
        overrides: `key=value` with dotted keys and values in YAML, applied to every document.

    Raises:
        ExperimentError: the file, documents or keys are wrong. Each mistake is one line with its location and the
            expected value.
    """
    path, only = locate(path)
    documents = parse_all(read_text(path, pipe=True), shown(path))
    numbered = [(number, document) for number, document in enumerate(documents, start=1) if document is not None]
    if not numbered:
        raise ExperimentError(f"{shown(path)}: no experiment in it; a document needs at least `model: cifar_resnet20`")
    experiments: list[Experiment] = []
    mistakes: list[str] = []
    first_uses: dict[tuple[str, str], int] = {}
    for number, document in numbered:
        try:
            for experiment in _read_document(path, number, document, overrides):
                run = (experiment.train_parameters.logdir, experiment.name)
                if first_uses.get(run) == number:
                    raise ExperimentError(
                        f"{shown(path)}, document {number}: grid: two combinations have the name {run[1]!r}; give the "
                        "values names that differ when joined"
                    )
                if run in first_uses:
                    raise ExperimentError(
                        f"{shown(path)}, document {number}: the run {run[1]!r} in {run[0]!r} is also that of document "
                        f"{first_uses[run]}; set train_parameters.run_name"
                    )
                first_uses[run] = number
                experiments.append(experiment)
        except ExperimentError as failure:
            mistakes += str(failure).splitlines()
        if len(experiments) > MAX_EXPERIMENTS:
            raise ExperimentError(f"{shown(path)}: expected at most {MAX_EXPERIMENTS:,} experiments; split the file")
    if mistakes:
        raise error_of(mistakes)
    return only_matching(experiments, [only] if only else (), path, "experiment ")


def only_matching(
    experiments: Sequence[Experiment], patterns: Sequence[str], path: Path, origin: str = "--only "
) -> list[Experiment]:
    """Return the experiments whose names match one of the shell patterns, or all if there are no patterns.

    Args:
        experiments: The experiments of a file.
        patterns: The patterns.
        path: The file, for the message.
        origin: What stands before the pattern in the message.

    Raises:
        ExperimentError: a pattern that matches none.
    """
    if not patterns:
        return list(experiments)
    names = dict.fromkeys(experiment.name for experiment in experiments)
    chosen = set()
    for pattern in patterns:
        matching = {name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not matching:
            near = difflib.get_close_matches(pattern, names, n=2)
            advice = f"; did you mean {' or '.join(near)}?" if near else f", which has {', '.join(names):.200}"
            raise ExperimentError(f"{origin}{shortened(pattern)}: not in {shown(path)}{advice}")
        chosen |= matching
    return [experiment for experiment in experiments if experiment.name in chosen]


def quickstart_experiment(overrides: Sequence[str] = ()) -> Experiment:
    """Return ResNet-20 on the embedded data set: a first run that downloads nothing."""
    document = copy.deepcopy(QUICKSTART)
    _refuse(overrides, {key: f"the quickstart has no {key}; write an experiments file" for key in ("grid", "recipe")})
    for override in overrides:
        apply_override(document, override)
    return experiment_from([document], "quickstart")


def experiment_from(
    layers: Sequence[dict[str, Any]], source: str, folders: Sequence[Path] = (), varied: Sequence[str] = ()
) -> Experiment:
    """Build an experiment from several mappings; each overrides the ones before it.

    Args:
        layers: The mappings.
        source: The file and document, for error messages.
        folders: Where to look for files that the experiment names, before the working directory. Their contents become
            part of the experiment, so a changed file makes a different experiment.
        varied: See `Experiment.varied`.

    Raises:
        ExperimentError: keys are wrong; one line per mistake.
    """
    document: dict[str, Any] = functools.reduce(merge, layers, {})
    context = {"source": source, "folders": list(folders), "varied": list(varied)}
    try:
        return Experiment.model_validate(document, context=context)
    except ValidationError as failure:
        raise plain_error(failure, Experiment, document, source) from None


def _refuse(overrides: Sequence[str], reasons: dict[str, str]) -> None:
    """Refuse overrides of these keys of a document, each with its reason."""
    for override in overrides:
        if reason := reasons.get(override.partition("=")[0].partition(".")[0]):
            raise ExperimentError(f"--set {shortened(override)}: {reason}")


def _read_document(path: Path, number: int, document: Any, overrides: Sequence[str]) -> list[Experiment]:
    source = f"{shown(path)}, document {number}"
    if not isinstance(document, dict):
        raise ExperimentError(f"{source}: expected a mapping with `model`, got {excerpt(document)}")
    if {"recipes", "rows"} <= set(document):
        raise ExperimentError(f"{source}: these are rows to train; `cifarzoo fill-zoo --rows {path}` trains them")
    _refuse(overrides, {"recipe": "cannot be set, because a recipe is applied before --set; name it in the file"})
    document, folders = dict(document), [path.parent]
    if (name := document.pop("recipe", None)) is not None:
        recipe, folder = find_recipe(name, path.parent, source)
        document, folders = merge(recipe, document), [path.parent, folder]
    for override in overrides:
        apply_override(document, override)
    experiments = []
    varied = varied_keys(document.get("grid"))
    checked: dict[int, str | list[Spec]] = {}  # policy lists are long, so the points of a grid share checked ones
    for point in expand(document, overrides, source):
        is_set, written = "augmentation" in point, id(point.get("augmentation"))
        if is_set and written in checked:
            point = point | {"augmentation": checked[written]}
        experiments.append(experiment_from([point], source, folders, varied))
        if is_set:
            checked[written] = experiments[-1].augmentation
    return experiments
