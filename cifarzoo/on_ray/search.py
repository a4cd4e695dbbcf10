"""The stages of a policy search on a Ray cluster: a task per network, then tasks that measure parts of tables."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cifarzoo.experiment.schema import Experiment
from cifarzoo.on_ray.batch import train_on
from cifarzoo.on_ray.tasks import Process, Resources, ended, remote
from cifarzoo.search.executor import Progress, Tables
from cifarzoo.search.plan import SearchPlan
from cifarzoo.search.stages import Search
from cifarzoo.training.outcomes import Outcome
from cifarzoo.training.stopping import StopRequest


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

    def measure(self, search: Tables, missing: dict[int, list[int]], progress: Progress) -> None:
        """Measure shards, in as many tasks per fold as the cluster has room for at once.

        Raises:
            The first exception of a task, after all have ended; what was measured is saved.
        """
        cores = sum(node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"])
        count = max(1, int(cores) // self._resources.cpus)
        measure = remote(self._ray, _measure, self._resources)
        process = Process(Path.cwd(), self._modules)
        tasks = {}
        for fold, shards in missing.items():
            for part in (shards[number::count] for number in range(min(count, len(shards)))):
                task = measure.options(name=f"fold {fold}: {len(part)} shards")
                tasks[task.remote(process, search.plan, fold, part)] = fold
        total, before = sum(map(len, missing.values())), _shards(search, missing)

        def show() -> None:
            progress("measure sub-policies", (_shards(search, missing) - before) / total)

        failures = []
        with StopRequest().on_signals() as stop:
            for _, result in ended(self._ray, tasks, stop, show):
                failures += [result] if isinstance(result, Exception) else []
        if failures:
            raise failures[0]


def _shards(search: Tables, folds: Iterable[int]) -> int:
    """Return the number of shards that have files."""
    return sum(len(list(search.folder.table(fold).glob("*.npz"))) for fold in folds)


def _measure(process: Process, plan: SearchPlan, fold: int, shards: Sequence[int]) -> None:
    """Measure shards on a node."""
    process.begin()
    with StopRequest().on_signals() as stop:
        Search(plan).measure_shards(fold, shards, stop)
