"""The stages of a search: train the networks, measure the tables, select the lists.

A step whose file exists is skipped. A killed search resumes where it was: the trainer resumes a network from its
checkpoint, and a table lacks at most the shard that was being measured.
"""

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from cifarzoo.data import Dataset, load
from cifarzoo.errors import DataError, TrainingError
from cifarzoo.models.macs import macs
from cifarzoo.runs.folder import RunFolder
from cifarzoo.search.cost import cost, versions
from cifarzoo.search.executor import Executor, Here, Progress
from cifarzoo.search.folder import SearchFolder
from cifarzoo.search.held_out import HeldOut, check_parts, held_out
from cifarzoo.search.objectives import check_packages, expected, select, unchanged
from cifarzoo.search.plan import OBJECTIVES, Objective, SearchPlan
from cifarzoo.search.policy_list import read_header, write_list
from cifarzoo.search.scorer import Scorer
from cifarzoo.search.space import Space
from cifarzoo.search.table import Table, TableFiles, identity_of
from cifarzoo.search.uniformity import uniformity
from cifarzoo.training.job import Job, prepare
from cifarzoo.training.run_model import model_of_run
from cifarzoo.training.sources import check_sources
from cifarzoo.training.stopping import Interrupted, StopRequest

CIFAR_SIZE = 32


def silent(step: str, done: float) -> None:
    """Show no progress."""


class Search:
    """A search in its folder.

    Args:
        plan: The plan.

    Raises:
        CifarzooError: the folder belongs to another plan, or cannot be written.
    """

    def __init__(self, plan: SearchPlan):
        self.plan = plan
        self.folder = SearchFolder(plan.folder)
        self.folder.adopt(plan)
        self._jobs: dict[int, Job] = {}
        self._held_out: dict[int, HeldOut] = {}

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data set that the networks are trained on."""
        experiment = self.plan.experiment(1)
        return load(experiment.dataset, experiment.data_dir)

    @functools.cached_property
    def space(self) -> Space:
        """The transformations."""
        experiment = self.plan.experiment(1)
        size = CIFAR_SIZE if isinstance(experiment.dataset, str) else self.dataset.inputs.size
        return Space(self.plan.operations, self.plan.levels, size)

    def train(self, executor: Executor | None = None) -> None:
        """Train the networks that have not been trained.

        Args:
            executor: What trains them. Default: this process.

        Raises:
            Interrupted: stopped and saved. TrainingError: a network could not be trained. CheckpointError: one was
                trained on other images or with other code than now. DataError: one has lost its weights.
        """
        missing = [fold for fold in self._folds() if not self._is_trained(fold)]  # also checks the trained ones
        if not missing:
            return
        outcomes = (executor or Here()).train(self.plan.experiments())
        if any(outcome.is_stopped for outcome in outcomes):
            raise Interrupted(f"{self.folder.path}: stopped and saved; the same command resumes it")
        for outcome in outcomes:
            if outcome.error:
                raise TrainingError(f"{outcome.experiment.name}: {outcome.error}")

    def measure(self, progress: Progress = silent, executor: Executor | None = None) -> None:
        """Measure the shards of the tables that have no file.

        Args:
            progress: Called with the name of a step and the fraction of it that is done.
            executor: What measures them. Default: this process.

        Raises:
            Interrupted: stopped; every shard so far is saved. DataError: a network is missing, or a shard is damaged.
            CheckpointError: a network is another experiment's, or was trained on other images. TrainingError: a
                network's outputs are not finite.
        """
        missing = {fold: self._files(fold)[0].missing() for fold in self._folds()}
        if any(missing.values()):
            (executor or Here()).measure(self, missing, progress)

    def measure_shards(
        self, fold: int, shards: Sequence[int], stop: StopRequest, progress: Callable[[float], None] = lambda done: None
    ) -> None:
        """Measure those of a fold's shards that have no file yet.

        Args:
            fold: The fold, from 1.
            shards: The numbers of their first transformations.
            stop: The request to stop; the shard that is being measured is finished and saved.
            progress: Called with the fraction done.

        Raises:
            Interrupted, DataError, CheckpointError, TrainingError: see `measure`.
        """
        files, images = self._files(fold)
        scorer = None
        for number, first in enumerate(shards):
            progress(number / len(shards))
            if files.path(first).is_file():
                continue
            scorer = scorer or Scorer(self._model(fold), self.space, images)
            try:
                files.measure(scorer.scores, first)
            except TrainingError as failure:
                raise TrainingError(f"{self.folder.network(self.plan.experiment(fold))}: {failure}") from None
            if stop.signal:
                raise Interrupted(f"{files.folder}: stopped and saved; the same command resumes it")

    def tables(self) -> list[Table]:
        """Return the table of every fold.

        Raises:
            DataError: one is missing, damaged or was measured with another network.
        """
        return [self._files(fold)[0].read() for fold in self._folds()]

    def select(self, objectives: Sequence[Objective] = OBJECTIVES, progress: Progress = silent) -> dict[str, Path]:
        """Write the lists that have no file.

        Args:
            objectives: Which lists.
            progress: Called with the name of a step and the fraction of it that is done.

        Returns:
            Their files.

        Raises:
            DataError: a table is missing or damaged, or a file was selected with other settings or from another table.
        """
        paths: dict[str, Path] = {objective: self.folder.list_path(objective) for objective in objectives}
        tables: list[Table] = []
        for objective in objectives:
            path = paths[objective]
            origin = self._origin(objective)
            if path.is_file():
                _check_origin(path, origin)
                continue
            if objective != "uniform":
                tables = tables or self.tables()
            step = f"select {objective}"
            progress(step, 0)
            started = time.perf_counter()
            policies = select(
                objective,
                self.space,
                tables,
                self.plan.selection,
                self.plan.seed,
                functools.partial(progress, step),
            )
            seconds = time.perf_counter() - started
            header = origin | {"versions": versions(), "sub_policies": len(policies)}
            header["cost"] = self._cost(objective, tables, seconds)
            if objective != "uniform":
                header["search"] = self.plan.summary()
                header["unchanged"] = unchanged(tables)
                header["expected"] = expected(self.space, tables, policies)
            write_list(path, header | {"uniformity": uniformity(policies, self.space.operations)}, policies)
        return paths

    def _folds(self):
        return range(1, self.plan.folds + 1)

    def _job(self, fold: int) -> Job:
        """Return the training of a fold's network, to read: its images and length, and nothing that is of this machine.

        The networks may train on other machines, so this one's devices neither matter nor are touched.
        """
        if fold not in self._jobs:
            experiment = self.plan.experiment(fold)
            parameters = experiment.train_parameters.model_copy(update={"steps_per_call": 1})
            anywhere = {"distribution": "none", "precision": "float32", "train_parameters": parameters}
            self._jobs[fold] = prepare(experiment.model_copy(update=anywhere), self.dataset, experiment.seeds)
        return self._jobs[fold]

    def _network(self, fold: int) -> RunFolder:
        """Return the run of a fold's network, which saw none of the images that are held out now.

        Raises:
            DataError: it has not finished, or its file of weights is missing or has changed. CheckpointError: it is
                another experiment's, or its images or the user's own code have changed since.
        """
        run, job = self.folder.network(self.plan.experiment(fold)), self._job(fold)
        run.final_weights()
        check_sources(run, job.sources(job.seeds[0]))
        remedy = f"delete {run.path.parent} and {self.folder.table(fold)}, and the same command begins this fold again"
        check_parts(run, job, remedy)
        return run

    def _is_trained(self, fold: int) -> bool:
        if not self.folder.has_network(self.plan.experiment(fold)):
            return False
        self._network(fold)
        return True

    def _files(self, fold: int) -> tuple[TableFiles, HeldOut]:
        """Return a fold's shards and the images on which they are measured."""
        weights = self._network(fold).results().weights_sha256
        if fold not in self._held_out:
            self._held_out[fold] = held_out(self.plan, fold, self._job(fold))
        images = self._held_out[fold]
        identity = identity_of(str(weights), images.digest, self.space, self.plan.precision)
        return TableFiles(self.folder.table(fold), identity, len(self.space), len(images)), images

    def _model(self, fold):
        experiment = self.plan.experiment(fold)
        weights = self.folder.network(experiment).final_weights()
        return model_of_run(experiment, weights, precision=self.plan.precision)

    def _origin(self, objective: Objective) -> dict[str, Any]:
        """Return what decides a list, as the first part of its header."""
        selection = self.plan.selection.read_by(objective)
        origin = {"objective": objective, "seed": self.plan.seed, "selection": selection}
        if objective == "uniform":
            return origin | {"operations": list(self.space.operations)}
        files = [self._files(fold) for fold in self._folds()]
        runs = [self.folder.network(experiment).results() for experiment in self.plan.experiments()]
        return origin | {
            "dataset": self.plan.experiment(1).dataset_name,
            "plan": self.plan.fingerprint(),
            "networks": [str(run.weights_sha256) for run in runs],
            "images": [images.digest for _, images in files],
        }

    def _cost(self, objective: Objective, tables: Sequence[Table], seconds: float) -> dict[str, Any]:
        if objective == "uniform":
            return cost(0, [], [], [], seconds)
        jobs = [self._job(fold) for fold in self._folds()]
        runs = [self.folder.network(experiment).results() for experiment in self.plan.experiments()]
        return cost(macs(self._model(1)), jobs, runs, tables, seconds)


def search(
    plan: SearchPlan,
    objectives: Sequence[Objective] = OBJECTIVES,
    progress_bar: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(silent),
    executor: Executor | None = None,
) -> dict[str, Path]:
    """Carry out a search, or what is left of it.

    Args:
        plan: The plan.
        objectives: Which lists to select; `uniform` alone needs no network.
        progress_bar: Shows the progress of what follows training, which has a display of its own.
        executor: What trains and measures. Default: this process.

    Returns:
        The files of the lists.

    Raises:
        CifarzooError: a stage cannot be carried out; the message says which file is at fault.
        Interrupted: stopped and saved.
    """
    check_packages()
    plan.check(objectives)
    process = Search(plan)
    needs_tables = bool(set(objectives) - {"uniform"})
    if needs_tables:
        _ = process.space  # fails before hours of training if policies cannot change such images
        process.train(executor)
    with progress_bar() as progress:
        if needs_tables:
            process.measure(progress, executor)
        return process.select(objectives, progress)


def _check_origin(path, origin):
    header = read_header(path)
    if different := [key for key in origin if header.get(key) != origin[key]]:
        raise DataError(f"{path}: was selected with other settings ({different[0]}); rename it, or delete it")
