"""The wanted rows of the table of published weights, read from recipes/zoo.yaml; no Keras is needed for it."""

import collections
import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.schema import Experiment
from cifarzoo.strict_model import Strict, first_problem
from cifarzoo.strict_yaml import read_mapping

# What weights and rows may be called: it is a part of file names.
TAG = "[A-Za-z0-9][A-Za-z0-9._+-]*"
UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Row:
    """One wanted weight file.

    Attributes:
        tag: Its name.
        recipe: The name of its recipe.
        experiment: What to train.
        seed: The one seed.
        preference: The recipes of the network and data set, the best first: of those that are published it gives the
            weights that `load_weights=True` means.
        is_stopgap: Whether its recipe is one for want of time, not wanted where there is a better one's row.
        better: Tags of the same network, data set and seed with the recipes before this one.
        remark: What a reader of its error must know, if anything.
    """

    tag: str
    recipe: str
    experiment: Experiment
    seed: int
    preference: tuple[str, ...] = ()
    is_stopgap: bool = False
    better: frozenset[str] = frozenset()
    remark: str = ""


class _WantedRow(BaseModel):
    """A row of the file; all other keys are those of an experiment."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(pattern=f"^{TAG}$")
    model: str
    dataset: str
    recipes: list[str] = Field(min_length=1)
    seeds: list[NonNegativeInt] = Field([0], min_length=1)
    remark: str = ""

    def experiment(self):
        """The keys that the row has of an experiment."""
        return {"model": self.model, "dataset": self.dataset} | (self.model_extra or {})


class _WantedRows(Strict):
    """The file."""

    recipes: dict[str, dict[str, Any] | str]
    stopgaps: list[str] = []
    common: dict[str, Any] | None = None
    rows: list[_WantedRow]


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
    try:
        wanted = _WantedRows.model_validate(read_mapping(path, "recipes, common and rows"))
    except ValidationError as failure:
        raise ExperimentError(f"{path}: {first_problem(failure, _WantedRows)}") from None
    recipes = {name: _recipe(path, recipe) for name, recipe in wanted.recipes.items()}
    for name in wanted.stopgaps:
        _check_recipe(name, recipes, f"{path}: stopgaps")
    rows = [
        _row(path, number, row, recipe, seed, recipes, wanted, logdir)
        for number, row in enumerate(wanted.rows, start=1)
        for recipe in row.recipes
        for seed in row.seeds
    ]
    for tag, count in collections.Counter(row.tag for row in rows).items():
        if count > 1:
            raise ExperimentError(f"{path}: {count} rows would be called {tag}; give them different names")
    return rows


def _recipe(path, given):
    """Return a recipe's mapping, which may be in a file of its own, and the folder of that file."""
    if isinstance(given, str):
        file = path.parent / given
        return read_mapping(file, "keys of an experiment"), file.parent
    return given, path.parent


def _check_recipe(name, recipes, place):
    if name not in recipes:
        raise ExperimentError(f"{place}: unknown recipe {name!r}; the file has {', '.join(recipes)}")


def _row(path, number, row, recipe, seed, recipes, wanted, logdir):
    place = f"{path}, row {number}"
    _check_recipe(recipe, recipes, place)
    group = f"{row.name}_{row.dataset}"
    place_and_seed = {"seeds": [seed], "train_parameters": {"logdir": logdir, "run_name": f"{group}_{recipe}"}}
    mapping, folder = recipes[recipe]
    layers = [wanted.common or {}, mapping, row.experiment(), place_and_seed]
    experiment = experiment_from(layers, place, [path.parent, folder])
    return Row(
        f"{group}_{recipe}_s{seed}",
        recipe,
        experiment,
        seed,
        preference=tuple(row.recipes),
        is_stopgap=recipe in wanted.stopgaps,
        better=frozenset(f"{group}_{name}_s{seed}" for name in row.recipes[: row.recipes.index(recipe)]),
        remark=row.remark,
    )


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
