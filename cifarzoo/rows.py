"""The wanted rows of the table of published weights, read from recipes/zoo.yaml; no Keras is needed for it."""

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path

from cifarzoo.errors import ExperimentError
from cifarzoo.training.experiment import Experiment
from cifarzoo.training.reading import experiment_from, read_mapping, with_policies

UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Row:
    """One wanted weight file.

    Attributes:
        tag: Its name.
        recipe: The name of its recipe.
        experiment: What to train.
        seed: The one seed.
        preferred_to: Recipes that come later in the file: where one of these gave the weights that `load_weights=True`
            means, this row's take their place.
        remark: What a reader of its error must know, if anything.
    """

    tag: str
    recipe: str
    experiment: Experiment
    seed: int
    preferred_to: frozenset[str] = frozenset()
    remark: str = ""


def parse_budget(text: str) -> float:
    """Seconds of a budget such as "20m", "1.5h" or "90s".

    Raises:
        ExperimentError: it is not a number and a unit.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found:
        raise ExperimentError(f"--budget {text}: expected a number and s, m or h, for example 20m")
    return float(found[1]) * UNITS[found[2]]


def read_rows(path: Path, logdir: str) -> list[Row]:
    """The wanted rows of a file, in order.

    Args:
        path: recipes/zoo.yaml or a file of its form.
        logdir: Where the runs are to lie.

    Raises:
        ExperimentError: a row or recipe does not fit; the message names it.
    """
    wanted = read_mapping(path, "recipes, common and rows")
    recipes, common, rows = wanted.get("recipes"), wanted.get("common") or {}, wanted.get("rows")
    if not (isinstance(recipes, dict) and isinstance(common, dict) and isinstance(rows, list)):
        raise ExperimentError(f"{path}: expected mappings `recipes` and `common` and a list `rows`")
    recipes = {name: _recipe(path, name, recipe) for name, recipe in recipes.items()}
    return [
        _row(path, number, row, recipe, seed, recipes, common, logdir)
        for number, row in enumerate(rows, start=1)
        for recipe in row.get("recipes", [])
        for seed in row.get("seeds", [0])
    ]


def _recipe(path, name, given):
    """A recipe's mapping, which may lie in a file of its own beside the rows."""
    folder = path.parent
    if isinstance(given, str):
        file = path.parent / given
        given, folder = read_mapping(file, "keys of an experiment"), file.parent
    if not isinstance(given, dict):
        raise ExperimentError(
            f"{path}: recipe {name}: expected keys of an experiment or a file's name, got {given!r:.80}"
        )
    return with_policies(given, [folder], f"{path}: recipe {name}")


def _row(path, number, row, recipe, seed, recipes, common, logdir):
    place = f"{path}, row {number}"
    if recipe not in recipes:
        raise ExperimentError(f"{place}: unknown recipe {recipe!r}; the file has {', '.join(recipes)}")
    own = {key: value for key, value in row.items() if key not in ("name", "recipes", "seeds", "remark")}
    name = f"{row['name']}_{row['dataset']}_{recipe}"
    place_and_seed = {"seeds": [seed], "train_parameters": {"logdir": logdir, "run_name": name}}
    common, own = (with_policies(layer, [path.parent], place) for layer in (common, own))
    experiment = experiment_from([common, recipes[recipe], own, place_and_seed], place)
    order = list(recipes)
    later = frozenset(order[order.index(recipe) + 1 :])
    return Row(f"{name}_s{seed}", recipe, experiment, seed, later, row.get("remark", ""))


def only_matching(rows: list[Row], pattern: str | None) -> list[Row]:
    """The rows whose tag matches a shell pattern.

    Raises:
        ExperimentError: none does.
    """
    found = [row for row in rows if pattern is None or fnmatch.fnmatch(row.tag, pattern)]
    if not found:
        raise ExperimentError(
            f"--only {pattern}: no row has such a tag; there are {', '.join(row.tag for row in rows)}"
        )
    return found
