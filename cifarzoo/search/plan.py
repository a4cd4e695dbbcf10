"""The plan of a search as checked data: networks, folds, the table's size and the selection. It knows no Keras."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from cifarzoo.augment.policy_lists import MAX_SUB_POLICIES, OPERATIONS
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.merging import apply_override, merge
from cifarzoo.experiment.recipe_files import find_recipe
from cifarzoo.experiment.schema import Experiment
from cifarzoo.experiment.splits import TrainSplit
from cifarzoo.strict_errors import plain_error
from cifarzoo.strict_model import Argument, FolderText, Number, PositiveWholeNumber, Strict, WholeNumber
from cifarzoo.strict_yaml import excerpt, read_mapping, shown

Objective = Literal["official", "mean", "band", "uniform"]
OBJECTIVES: tuple[Objective, ...] = ("official", "mean", "band", "uniform")
# The settings of the selection that each objective reads.
READ_BY: dict[Objective, tuple[str, ...]] = {
    "official": ("seed", "rounds", "samples", "best"),
    "mean": ("size",),
    "band": ("size", "fall"),
    "uniform": ("seed", "size"),
}
# A policy of the paper: five sub-policies, of which each image gets one.
SUB_POLICIES = 5
# Keys of an experiment that the search sets.
SET_HERE = ("train_split", "val_split", "seeds", "seed", "seeds_at_once", "grid")
SET_HERE_PARAMETERS = ("logdir", "run_name")
# Parameters that choose weights by the images on which a run is measured.
CHOOSING = ("early_stopping", "best_weights")
# Seeds of one search's folds lie so far apart that no other search has them.
MOST_FOLDS = 1_000


class Selection(Strict):
    """How lists are selected from the table. The paper's numbers are K = 5 folds, T = 2, B = 200 and N = 10.

    Attributes:
        seed: Of the samplers.
        size: Sub-policies in the lists of `mean`, `band` and `uniform`.
        rounds: Searches per fold of `official`, T.
        samples: Policies that a search tries, B.
        best: Policies of a search that enter the list, N.
        fall: By how many points the accuracy may fall in `band`.
    """

    seed: Annotated[WholeNumber, Field(ge=0, lt=2**31)] = 0
    size: Annotated[PositiveWholeNumber, Field(le=MAX_SUB_POLICIES)] = 500
    rounds: PositiveWholeNumber = 2
    samples: PositiveWholeNumber = 200
    best: PositiveWholeNumber = 10
    fall: Annotated[Number, Field(ge=0, le=100)] = 5.0

    def read_by(self, objective: Objective) -> dict[str, Any]:
        """Return the settings that an objective reads, as plain data."""
        return self.model_dump(mode="json", include=set(READ_BY[objective]))

    @model_validator(mode="after")
    def _best_are_samples(self) -> Self:
        if self.best > self.samples:
            raise ValueError(f"best: must be at most samples, {self.samples}, got {self.best}")
        return self


class SearchPlan(Strict):
    """One search.

    Attributes:
        networks: What trains on each fold: an experiment without splits and seeds.
        folder: Where everything is kept.
        of: The images that folds are drawn from.
        folds: Number of networks. Each has a random split of its own, as in Fast AutoAugment's code.
        held_out: The share of images that a network is not trained on.
        images: Held-out images per fold in the table.
        operations: The operations to choose from.
        levels: Levels from 0 to 1 in the table.
        seed: Of splits, networks and the random numbers of images.
        precision: That the table is measured in.
        selection: How lists are selected.
    """

    networks: dict[str, Argument]
    folder: FolderText = "search"
    of: TrainSplit = "train45k:images=4000"
    folds: Annotated[PositiveWholeNumber, Field(lt=MOST_FOLDS)] = 5
    held_out: Annotated[Number, Field(gt=0, lt=1)] = 0.4
    images: PositiveWholeNumber = 400
    operations: list[Literal[OPERATIONS]] = Field(list(OPERATIONS), min_length=1)  # type: ignore[valid-type]
    levels: Annotated[WholeNumber, Field(ge=2, le=101)] = 11
    seed: Annotated[WholeNumber, Field(ge=0, lt=10**6)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    selection: Selection = Selection()

    _source: str = PrivateAttr("search")
    _folders: list[Path] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _operations_differ(self) -> Self:
        if len(set(self.operations)) != len(self.operations):
            raise ValueError("operations: lists one twice")
        return self

    def model_post_init(self, context: Any) -> None:
        """Keep where the plan was read from: `source` and `folders` of the validation's context."""
        self._source = (context or {}).get("source", "search")
        self._folders = list((context or {}).get("folders", ()))

    @property
    def source(self) -> str:
        """The plan's file, for messages."""
        return self._source

    def check(self, objectives: Sequence[Objective]) -> None:
        """Check that the objectives can be selected.

        Raises:
            ExperimentError: the list of `official` would be too long.
        """
        selection = self.selection
        most = self.folds * selection.rounds * selection.best * SUB_POLICIES
        if "official" in objectives and most > MAX_SUB_POLICIES:
            raise ExperimentError(
                f"{self.source}: selection: folds x rounds x best x {SUB_POLICIES} is {most:,} sub-policies; a list "
                f"has at most {MAX_SUB_POLICIES:,}"
            )

    def experiment(self, fold: int) -> Experiment:
        """Return the experiment that trains the network of a fold, from 1.

        Raises:
            ExperimentError: the keys of `networks` are wrong, among those that the search sets, or choose weights by
                the held-out images.
        """
        document = dict(self.networks)
        parameters = document.get("train_parameters", {})
        own = [key for key in SET_HERE if key in document]
        if isinstance(parameters, dict):
            own += [f"train_parameters.{key}" for key in SET_HERE_PARAMETERS if key in parameters]
        if own:
            raise ExperimentError(f"{self.source}: networks.{own[0]}: set by the search; leave it out")
        split_seed = MOST_FOLDS * self.seed + fold
        share = f"{self.held_out:.10f}".rstrip("0")
        folder = Path(self.folder) / "networks"
        fixed = {
            "train_split": f"{self.of}:rest={share}:seed={split_seed}",
            "val_split": f"{self.of}:held_out={share}:seed={split_seed}",
            "seeds": [self.seed],
            "train_parameters": {"logdir": str(folder), "run_name": f"fold{fold}"},
        }
        experiment = experiment_from([document, fixed], f"{self.source}: networks", self._folders)
        if choosing := [key for key in CHOOSING if getattr(experiment.train_parameters, key)]:
            raise ExperimentError(
                f"{self.source}: networks.train_parameters.{choosing[0]}: would choose the weights by the held-out "
                "images, which judge the policies; leave it out"
            )
        for callback in experiment.callbacks or ():
            monitor = callback.arguments.get("monitor", "val_loss" if callback.name == "EarlyStopping" else "")
            if str(monitor).startswith("val_"):
                raise ExperimentError(
                    f"{self.source}: networks.callbacks: {callback} would follow {monitor} of the held-out images, "
                    "which judge the policies; leave it out"
                )
        return experiment

    def experiments(self) -> list[Experiment]:
        """Return the experiments of all folds."""
        return [self.experiment(fold) for fold in range(1, self.folds + 1)]

    def decisive(self) -> dict[str, Any]:
        """Return, as plain data, every setting that the networks and the table depend on."""
        document = self.model_dump(mode="json", exclude={"networks", "folder", "selection"})
        return {"networks": self.experiment(1).decisive() | {"seed": self.seed}} | document

    def summary(self) -> dict[str, Any]:
        """Return what a reader of a list asks first: the network, and the settings of folds and table."""
        keys = {"of", "folds", "held_out", "images", "operations", "levels", "precision"}
        return {"model": self.experiment(1).model} | self.model_dump(mode="json", include=keys)

    def fingerprint(self) -> str:
        """Hash what the networks and the table depend on."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()


def without_keys_set_here(document: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of an experiment that a plan's `networks` may have."""
    parameters = document.get("train_parameters", {}).items()
    own = {key: value for key, value in parameters if key not in SET_HERE_PARAMETERS}
    return {key: value for key, value in document.items() if key not in SET_HERE} | {"train_parameters": own}


def read_plan(path: str | os.PathLike, overrides: Sequence[str] = ()) -> SearchPlan:
    """Read a plan from a YAML file.

    Args:
        path: The file.
        overrides: `key=value` with dotted keys and values in YAML.

    Raises:
        ExperimentError: the file or its keys are wrong; one line per mistake.
    """
    path = Path(path)
    document = read_mapping(path, "the keys of a search, such as `networks`")
    for override in overrides:
        apply_override(document, override)
    return plan_from(document, shown(path), path.parent)


def plan_from(document: dict[str, Any], source: str, folder: Path | None = None) -> SearchPlan:
    """Check the document of a plan.

    Args:
        document: Its keys.
        source: The file, for messages.
        folder: Where to look for recipes and files that the experiment names.

    Raises:
        ExperimentError: keys are wrong; one line per mistake.
    """
    folder = folder or Path()
    folders, networks = [folder], document.get("networks")
    if isinstance(networks, dict) and "recipe" in networks:
        networks = dict(networks)
        recipe, recipe_folder = find_recipe(networks.pop("recipe"), folder, f"{source}: networks")
        networks = merge(without_keys_set_here(recipe), networks)
        document, folders = document | {"networks": networks}, [folder, recipe_folder]
    elif networks is not None and not isinstance(networks, dict):
        raise ExperimentError(f"{source}: networks: expected the keys of an experiment, got {excerpt(networks)}")
    try:
        plan = SearchPlan.model_validate(document, context={"source": source, "folders": folders})
    except ValidationError as failure:
        raise plain_error(failure, SearchPlan, document, source) from None
    plan.experiments()
    return plan
