"""Find recipes by name: in files next to an experiment, in the package's files, and in the package's zoo.yaml.

zoo.yaml lists the weights to train: recipes by name, and rows, each a network and a data set with their recipes.
"""

import difflib
import functools
import re
from pathlib import Path
from typing import Any

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.grids import expand
from cifarzoo.experiment.merging import merge
from cifarzoo.strict_yaml import excerpt, existing_file, parse_all, read_mapping, read_text, shown

CONTENT = "keys of an experiment"
# Keys that describe a row; all its other keys are keys of an experiment.
ROW_KEYS = ("name", "recipes", "seeds", "remark")


def recipe_folder() -> Path:
    """Return the folder of recipes: the installed package's, or the checkout's."""
    package = Path(__file__).resolve().parent.parent
    return next((folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir()), package)


def recipe_files() -> dict[str, Path]:
    """Return the recipe files by name, without `zoo*.yaml`, which list weights to train."""
    files = sorted(recipe_folder().glob("*.yaml"))
    return {path.stem: path for path in files if not path.stem.startswith("zoo")}


def find_recipe(name: Any, folder: Path, location: str) -> tuple[dict[str, Any], Path]:
    """Return the experiment keys of a recipe, and the folder to which its paths are relative.

    Args:
        name: Path of a YAML file, with or without its ending, in `folder`, `folder`/recipes or the package's recipes;
            FILE/EXPERIMENT for one of a file's documents; or the name of a recipe or row of the package's zoo.yaml,
            such as "200ep" or "resnet20_v1_cifar10_200ep".
        folder: The folder of the document that names the recipe.
        location: Start of the error messages.

    Raises:
        ExperimentError: there is no such recipe, or it is not a mapping.
    """
    if not isinstance(name, str) or not name:
        raise ExperimentError(f"{location}: recipe: expected the name or path of a recipe, got {excerpt(name)}")
    folders = [folder, folder / "recipes", recipe_folder()]
    if path := existing_file(_candidates(name, folders)):
        recipe = read_mapping(path, CONTENT, f"{location}: recipe ")
        if {"recipes", "rows"} <= set(recipe):
            raise ExperimentError(
                f"{location}: recipe {shown(path)}: it lists rows to train; name one of its recipes or rows"
            )
        return _without_recipe(recipe, f"{location}: recipe {shown(path)}"), path.parent
    file, _, experiment = name.rpartition("/")
    if file and (path := existing_file(_candidates(file, folders))):
        recipe = _document(path, experiment, f"{location}: recipe ")
        return _without_recipe(recipe, f"{location}: recipe {shown(path)}/{experiment}"), path.parent
    zoo = zoo_recipes()
    if name in zoo:
        return zoo[name], recipe_folder()
    searched = f"{folder} and {folder / 'recipes'}"
    raise ExperimentError(
        f"{location}: recipe {excerpt(name)} not found; searched {searched:.200}{_nearest(name, zoo)}"
    )


def _without_recipe(recipe: dict[str, Any], location: str) -> dict[str, Any]:
    if "recipe" in recipe:
        raise ExperimentError(f"{location}: a recipe cannot name another recipe")
    return recipe


def _candidates(name: str, folders: list[Path]) -> list[Path]:
    return [folder / file for folder in folders for file in (name, f"{name}.yaml", f"{name}.yml")]


def _document(path: Path, name: str, location: str) -> dict[str, Any]:
    """Return the document of the experiment with this name, alone or as a point of a grid."""
    documents: dict[str, dict[str, Any]] = {}
    for document in parse_all(read_text(path, location), f"{location}{shown(path)}"):
        if isinstance(document, dict):
            documents |= {_name_of(point): point for point in expand(document, (), f"{location}{shown(path)}")}
    if name not in documents:
        names = ", ".join(known for known in documents if known)
        raise ExperimentError(f"{location}{shown(path)}: has no experiment {excerpt(name)}; it has {names:.200}")
    return documents[name]


def _name_of(document: dict[str, Any]) -> str:
    parameters = document.get("train_parameters")
    name = parameters.get("run_name") if isinstance(parameters, dict) else None
    return str(name or document.get("model", ""))


def zoo_recipes() -> dict[str, dict[str, Any]]:
    """Return the recipes of the package's zoo.yaml by name, and its rows by NAME_DATASET_RECIPE and by tag."""
    path = recipe_folder() / "zoo.yaml"
    if not path.is_file():
        return {}
    document = read_mapping(path, "recipes and rows")
    recipes = {
        name: read_mapping(path.parent / recipe, CONTENT) if isinstance(recipe, str) else recipe
        for name, recipe in document["recipes"].items()
    }
    named = dict(recipes)
    for row in document["rows"]:
        experiment = {key: value for key, value in row.items() if key not in ROW_KEYS}
        for recipe in row["recipes"]:
            layers = (document.get("common") or {}, recipes[recipe], experiment)
            run = f"{row['name']}_{row['dataset']}_{recipe}"
            for name in (run, *(f"{run}_s{seed}" for seed in row.get("seeds", [0]))):
                named[name] = functools.reduce(merge, layers, {})
    return named


def _nearest(name: str, zoo: dict[str, dict[str, Any]]) -> str:
    """Return the end of a message: the recipes of the package with similar names, or all recipes."""
    names = [*recipe_files(), *zoo]
    plain = re.sub(r"\.ya?ml$", "", name).rpartition("/")[2]
    if near := difflib.get_close_matches(plain, names, n=2):
        return f"; did you mean {' or '.join(near)}?"
    return f"; cifarzoo has {', '.join(recipe_files())}"
