"""The stages of a policy search on a Ray cluster: a task per network, then tasks that measure parts of tables."""

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cifarzoo.errors import summarize
from cifarzoo.experiment.schema import Experiment
from cifarzoo.notebook import say
from cifarzoo.on_ray.batch import train_on
from cifarzoo.on_ray.tasks import Process, Resources, ended, places, remote, resolved
from cifarzoo.search.executor import Progress, RunningSearch
from cifarzoo.search.plan import SearchPlan
from cifarzoo.search.stages import Search
from cifarzoo.training.outcomes import Outcome
from cifarzoo.training.stopping import Interrupted, StopRequest

# One core measures a shard of this many images in the time that a task takes to start and compile.
IMAGES_TO_START = 600


class OnRay:
    """An executor of a search; see `search.executor.Executor`.

    Args:
        ray: The connected module; see `cluster.connected`.
        resources: What one task gets.
        modules: The folder where the user's own modules are, if the networks have one.
    """

    def __init__(self, ray: Any, resources: Resources, modules: Path | None):
        self._ray, self._resources, self._modules = ray, resources, modules

    def train(self, experiments: list[Experiment]) -> list[Outcome]:
        """Train the networks, a task each."""
        return train_on(self._ray, experiments, self._resources, self._modules)

    def measure(self, search: RunningSearch, missing: dict[int, list[int]], progress: Progress) -> None:
        """Measure shards, in at least one task per fold.

        Raises:
            Interrupted: stopped and saved. Otherwise the first exception of a task, after all have ended; the shards
                of the others are saved.
        """
        missing = {fold: shards for fold, shards in missing.items() if shards}
        resources = resolved(self._ray, self._resources)
        longest, start = max(map(len, missing.values())), IMAGES_TO_START / search.plan.images
        count = tasks_per_fold(longest, len(missing), places(self._ray, resources), start)
        measure = remote(self._ray, _measure, resources)
        process = Process(Path.cwd(), self._modules)
        tasks = {}
        for fold, shards in missing.items():
            for part in (shards[number::count] for number in range(min(count, len(shards)))):
                task = measure.options(name=f"fold {fold}: {len(part)} parts")
                tasks[task.remote(process, search.plan, fold, part)] = fold
        total, before, started = sum(map(len, missing.values())), _shards(search, missing), time.perf_counter()
        say(f"{search.folder.path}: {total} parts of tables to measure in {len(tasks)} tasks")

        def show() -> None:
            progress("measure sub-policies", (_shards(search, missing) - before) / total)

        failures: list[Exception] = []
        is_stopped = False
        with StopRequest().on_signals() as stop:
            for fold, result in ended(self._ray, tasks, resources, stop, show):
                if isinstance(result, Interrupted):  # by this request, or by a signal on its node
                    is_stopped = True
                elif isinstance(result, Exception):
                    failures.append(result)
                    say(f"fold {fold}: {summarize(result)}")
        if is_stopped or stop.signal:
            raise Interrupted(f"{search.folder.path}: stopped and saved; the same command resumes it")
        if failures:
            raise failures[0]
        say(f"{search.folder.path}: tables measured in {(time.perf_counter() - started) / 60:.1f} min")


def tasks_per_fold(shards: int, folds: int, places: int, start: float) -> int:
    """Return the number of tasks that measure each fold's shards soonest.

    Few tasks leave places idle at the end; with many, more time goes into starting them.

    Args:
        shards: Number of shards of a fold.
        folds: Number of folds.
        places: Number of tasks that run at the same time.
        start: Time that a task takes before its first shard; a shard takes 1.
    """

    def duration(tasks: int) -> float:
        return math.ceil(folds * tasks / max(places, 1)) * (start + math.ceil(shards / tasks))

    return min(range(1, shards + 1), key=duration)


def _shards(search: RunningSearch, folds: Iterable[int]) -> int:
    """Return the number of shards that have files."""
    return sum(len(list(search.folder.table(fold).glob("shard????.npz"))) for fold in folds)


def _measure(process: Process, plan: SearchPlan, fold: int, shards: Sequence[int]) -> None:
    """Measure shards on a node."""
    process.begin()
    with StopRequest().on_signals() as stop:
        Search(plan).measure_shards(fold, shards, stop)
