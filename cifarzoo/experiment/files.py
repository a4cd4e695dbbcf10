"""Read experiments from YAML files: documents with recipes, grids and overrides."""

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.grids import expand
from cifarzoo.experiment.merging import apply_override, merge
from cifarzoo.experiment.schema import Experiment
from cifarzoo.strict_model import first_problem
from cifarzoo.strict_yaml import parse_all, read_mapping, read_text

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


def read_experiments(path: Path, overrides: Sequence[str] = ()) -> list[Experiment]:
    """Read the experiments of a YAML file: one per document, or one per combination of the values of its `grid`.

    Args:
        path: The file.
        overrides: `key=value` with dotted keys and values in YAML, applied to every document.

    Raises:
        ExperimentError: the file, a document or a key is wrong; one line says where and what was expected.
    """
    documents = parse_all(read_text(path), str(path))
    numbered = [(number, document) for number, document in enumerate(documents, start=1) if document is not None]
    if not numbered:
        raise ExperimentError(f"{path}: no experiment in it; a document needs at least `model: cifar_resnet20`")
    experiments = []
    first_uses: dict[tuple[str, str], int] = {}
    for number, document in numbered:
        for experiment in _read_document(path, number, document, overrides):
            run = (experiment.train_parameters.logdir, experiment.name)
            if run in first_uses:
                raise ExperimentError(
                    f"{path}, document {number}: the run {run[1]!r} in {run[0]!r} is also that of document "
                    f"{first_uses[run]}; set train_parameters.run_name"
                )
            first_uses[run] = number
            experiments.append(experiment)
    return experiments


def quickstart_experiment(overrides: Sequence[str] = ()) -> Experiment:
    """Return ResNet-20 on the embedded data set: a first run that downloads nothing."""
    document = copy.deepcopy(QUICKSTART)
    for override in overrides:
        apply_override(document, override)
    return experiment_from([document], "quickstart")


def experiment_from(layers: Sequence[dict[str, Any]], source: str, folders: Sequence[Path] = ()) -> Experiment:
    """Build the experiment of several mappings, each laid over those before it.

    Args:
        layers: The mappings.
        source: The file and document, for error messages.
        folders: Where to look for files that the experiment names, before the working directory. Their contents become
            part of the experiment, so that a changed file makes another experiment.

    Raises:
        ExperimentError: a key is wrong.
    """
    document: dict[str, Any] = functools.reduce(merge, layers, {})
    try:
        return Experiment.model_validate(document, context={"source": source, "folders": list(folders)})
    except ValidationError as failure:
        raise ExperimentError(f"{source}: {first_problem(failure, Experiment)}") from None


def _read_document(path: Path, number: int, document: Any, overrides: Sequence[str]) -> list[Experiment]:
    source = f"{path}, document {number}"
    if not isinstance(document, dict):
        raise ExperimentError(f"{source}: expected a mapping with `model`, got {document!r:.80}")
    if {"recipes", "rows"} <= set(document):
        raise ExperimentError(f"{source}: these are wanted rows; `cifarzoo fill-zoo --rows {path}` trains them")
    document, folders = _with_recipe(path, source, document)
    for override in overrides:
        apply_override(document, override)
    return [experiment_from([expanded], source, folders) for expanded in expand(document, overrides, source)]


def _with_recipe(path: Path, source: str, document: dict[str, Any]) -> tuple[dict[str, Any], list[Path]]:
    """Return the document over the recipe it names, if any, and the folders of both.

    `recipe: he2016` is recipes/he2016.yaml in the folder of the file.
    """
    name = document.pop("recipe", None)
    if name is None:
        return document, [path.parent]
    candidates = [path.parent / f"{name}", path.parent / "recipes" / f"{name}.yaml"]
    for candidate in candidates:
        if candidate.is_file():
            recipe = read_mapping(candidate, "keys of an experiment", f"{source}: recipe ")
            return merge(recipe, document), [path.parent, candidate.parent]
    searched = " and ".join(str(candidate) for candidate in candidates)
    raise ExperimentError(f"{source}: recipe {name!r} not found; searched {searched}")
