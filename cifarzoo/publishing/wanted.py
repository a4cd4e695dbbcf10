"""The wanted rows of the table of published weights, read from recipes/zoo.yaml without Keras."""

import collections
import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.selection import is_weight_path
from cifarzoo.strict_errors import plain_error
from cifarzoo.strict_model import Name, Strict, WholeNumber, checked_name
from cifarzoo.strict_yaml import excerpt, quoted, read_mapping


@dataclass(frozen=True)
class Row:
    """One wanted weight file.

    Attributes:
        tag: Name of the weights.
        recipe: Name of the recipe.
        experiment: What to train.
        seed: The seed.
        preference: Recipes for the network and data set, the best first: `load_weights=True` loads the first that is
            published.
        is_stopgap: Whether the recipe only fills in until a better one is published.
        better: Tags of the rows for the same network, data set and seed whose recipes come before this one.
        remark: What a reader of the error must know, if anything.
    """

    tag: str
    recipe: str
    experiment: Experiment
    seed: int
    preference: tuple[str, ...] = ()
    is_stopgap: bool = False
    better: frozenset[str] = frozenset()
    remark: str = ""


# The name of a recipe file, or experiment keys.
_Recipe = Annotated[
    Annotated[str, Tag("file")] | Annotated[dict[str, Any], Tag("keys")],
    Discriminator(lambda value: "file" if isinstance(value, str) else "keys"),
]


class _RowDocument(BaseModel):
    """A row in the file; all further keys are keys of an experiment."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name
    model: str
    dataset: str
    recipes: list[str] = Field(min_length=1)
    seeds: list[Annotated[WholeNumber, Field(ge=0)]] = Field([0], min_length=1)
    remark: str = ""

    def experiment(self):
        """Return the row's keys of an experiment."""
        return {"model": self.model, "dataset": self.dataset} | (self.model_extra or {})


class _Document(Strict):
    """The file."""

    recipes: dict[Name, _Recipe]
    stopgaps: list[str] = []
    common: dict[str, Any] | None = None
    rows: list[_RowDocument] = Field(min_length=1)


def read_rows(path: Path, logdir: str) -> list[Row]:
    """Read wanted rows, in the order of the file.

    Args:
        path: recipes/zoo.yaml or a file like it.
        logdir: Parent folder of the runs.

    Raises:
        ExperimentError: a row or a recipe is invalid; the message names it.
    """
    mapping = read_mapping(path, "recipes, common and rows")
    try:
        document = _Document.model_validate(mapping)
    except ValidationError as failure:
        raise plain_error(failure, _Document, mapping, str(path)) from None
    recipes = {name: _recipe(path, recipe) for name, recipe in document.recipes.items()}
    for name in document.stopgaps:
        _check_recipe(name, recipes, f"{path}: stopgaps")
    rows = [
        _row(path, number, row, recipe, seed, recipes, document, logdir)
        for number, row in enumerate(document.rows, start=1)
        for recipe in row.recipes
        for seed in row.seeds
    ]
    for tag, count in collections.Counter(row.tag for row in rows).items():
        if count > 1:
            raise ExperimentError(f"{path}: {count} rows are called {tag}; give them different names")
    return rows


def check_tag(tag: str) -> None:
    """Check a name for weights, which becomes the names of their files.

    Raises:
        ValueError: it cannot be a file's name, or would be taken for the path of a weight file when it is loaded.
    """
    checked_name(tag)
    if is_weight_path(tag):
        raise ValueError("must not end in .h5 or .keras, which is how paths of weight files end")


def _recipe(path, recipe):
    """Return a recipe's mapping, or that of the file it names, and the folder in which the mapping's paths start."""
    if isinstance(recipe, str):
        file = path.parent / recipe
        return read_mapping(file, "keys of an experiment"), file.parent
    return recipe, path.parent


def _check_recipe(name, recipes, location):
    if name not in recipes:
        raise ExperimentError(f"{location}: unknown recipe {excerpt(name)}; the file has {', '.join(recipes):.300}")


def _row(path, number, row, recipe, seed, recipes, document, logdir):
    location = f"{path}, row {number}"
    _check_recipe(recipe, recipes, location)
    group = f"{row.name}_{row.dataset}"
    name_and_seed = {"seeds": [seed], "train_parameters": {"logdir": logdir, "run_name": f"{group}_{recipe}"}}
    mapping, folder = recipes[recipe]
    layers = [document.common or {}, mapping, row.experiment(), name_and_seed]
    experiment = experiment_from(layers, location, [path.parent, folder])
    tag = f"{group}_{recipe}_s{seed}"
    try:
        check_tag(tag)
    except ValueError as failure:
        raise ExperimentError(f"{location}: tag {quoted(tag)}: {failure}") from None
    return Row(
        tag,
        recipe,
        experiment,
        seed,
        preference=tuple(row.recipes),
        is_stopgap=recipe in document.stopgaps,
        better=frozenset(f"{group}_{name}_s{seed}" for name in row.recipes[: row.recipes.index(recipe)]),
        remark=row.remark,
    )


def only_matching(rows: list[Row], pattern: str | None) -> list[Row]:
    """Return the rows whose tags match a shell pattern.

    Raises:
        ExperimentError: no tag matches.
    """
    matching = [row for row in rows if pattern is None or fnmatch.fnmatchcase(row.tag, pattern)]
    if not matching:
        raise ExperimentError(
            f"--only {pattern}: no row has such a tag; there are {', '.join(row.tag for row in rows)}"
        )
    return matching
