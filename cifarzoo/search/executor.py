"""What trains the networks of a search and measures its tables: this process, or a cluster; see `on_ray.search`."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from cifarzoo.experiment.schema import Experiment
from cifarzoo.notebook import say
from cifarzoo.search.folder import SearchFolder
from cifarzoo.search.plan import SearchPlan
from cifarzoo.training.outcomes import Outcome
from cifarzoo.training.runner import run_all
from cifarzoo.training.stopping import StopRequest

# Called with the name of a step and the fraction of it that is done.
Progress = Callable[[str, float], None]


class RunningSearch(Protocol):
    """What an executor needs of a `stages.Search`."""

    plan: SearchPlan
    folder: SearchFolder

    def measure_shards(
        self, fold: int, shards: Sequence[int], stop: StopRequest, progress: Callable[[float], None] = ...
    ) -> None:
        """Measure those of a fold's shards that have no file yet."""


class Executor(Protocol):
    """Trains networks and measures shards somewhere."""

    def train(self, experiments: list[Experiment]) -> list[Outcome]:
        """Train the networks, and return how their runs ended."""

    def measure(self, search: RunningSearch, missing: dict[int, list[int]], progress: Progress) -> None:
        """Measure the shards in `missing`, by fold; see `Search.measure`."""


class Here:
    """The executor that works in this process, one thing after another."""

    def train(self, experiments: list[Experiment]) -> list[Outcome]:
        """Train the networks."""
        return run_all(experiments)

    def measure(self, search: RunningSearch, missing: dict[int, list[int]], progress: Progress) -> None:
        """Measure the shards, fold by fold."""
        with StopRequest().on_signals() as stop:
            for fold, shards in missing.items():
                started = time.perf_counter()
                step = f"fold {fold} of {search.plan.folds}: measure sub-policies"
                search.measure_shards(fold, shards, stop, functools.partial(progress, step))
                if shards:
                    minutes = (time.perf_counter() - started) / 60
                    say(f"{search.folder.table(fold)}: measured in {minutes:.1f} min")
