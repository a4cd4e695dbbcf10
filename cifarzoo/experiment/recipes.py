"""Read the training settings of a recipe by its name."""

from pathlib import Path

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from, read_experiments
from cifarzoo.experiment.recipe_files import recipe_files, recipe_folder, zoo_recipes
from cifarzoo.experiment.schema import Experiment
from cifarzoo.strict_yaml import excerpt, existing_file

# What a recipe says about one experiment and not about how to train.
NOT_TRAINING = ("model", "module", "model_parameters", "dataset", "description", "data_dir", "seeds", "init_weights")
NOT_TRAINING_PARAMETERS = ("logdir", "run_name", "lr_values", "lr_boundaries")


def training_settings(recipe: str) -> tuple[dict, list[Path]]:
    """Return the settings of a recipe that say how to train, as a document of an experiments file.

    Args:
        recipe: The name of a recipe file, such as "airbench94"; if it has several experiments, "FILE/EXPERIMENT",
            such as "vgg/vgg11"; the name of a recipe or row of zoo.yaml, such as "200ep"; or the path of a YAML file,
            with "/EXPERIMENT" if it has several.

    Returns:
        The document, and the folders in which to look for the files that it names.

    Raises:
        ExperimentError: no such recipe, or the file has several experiments.
    """
    experiment = _experiment(str(recipe))
    document = experiment.model_dump(mode="json", exclude_unset=True)
    parameters = document.setdefault("train_parameters", {})
    # In one form, whichever the recipe uses, so that a caller can replace it.
    parameters["schedule"] = experiment.train_parameters.resolved_schedule().model_dump(mode="json")
    for section, keys in ((document, NOT_TRAINING), (parameters, NOT_TRAINING_PARAMETERS)):
        for key in keys:
            section.pop(key, None)
    return document, experiment.folders


def _experiment(recipe: str) -> Experiment:
    for file, name in ((recipe, ""), recipe.rpartition("/")[::2]):
        if path := _file(file):
            return _chosen(recipe, read_experiments(path), file, name)
    zoo = zoo_recipes()
    if recipe in zoo:
        return experiment_from([{"model": "any"}, zoo[recipe]], f"recipe {recipe}", [recipe_folder()])
    raise ExperimentError(f"recipe {excerpt(recipe)} does not exist; the recipes are {', '.join(recipe_files())}")


def _file(name: str) -> Path | None:
    """Return the recipe file with a name, or the YAML file with a path; None if there is none."""
    if path := recipe_files().get(name.removesuffix(".yaml")):
        return path
    return existing_file([Path(name)]) if name.endswith((".yaml", ".yml")) else None


def _chosen(recipe: str, experiments: list[Experiment], file: str, name: str) -> Experiment:
    """Return a file's experiment with a name, or without a name its only one."""
    by_name = {experiment.name: experiment for experiment in experiments}
    if name in by_name:
        return by_name[name]
    if not name and len(experiments) == 1:
        return experiments[0]
    choices = ", ".join(f"{file}/{known}" for known in by_name)
    raise ExperimentError(f"recipe {excerpt(recipe)}: choose one of {choices}")
