"""Share the runs of a file among the jobs of an array, each of which trains a part."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.schema import Experiment


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Read a shard, such as "3/8".

    Raises:
        ExperimentError: it is something else.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return Shard(int(match[1]), int(match[2]))
    raise ExperimentError(f"--shard {text}: expected NUMBER/COUNT with a number from 1 to the count, such as 3/8")


def runs_of(experiments: Sequence[Experiment], shard: Shard) -> list[Experiment]:
    """Return the experiments with the seeds that a shard trains; those without any are left out.

    The runs are dealt out in their order in the file: the first to shard 1, the second to shard 2 and so on, so that
    neighbors, which often take equally long, go to different shards. Seeds that train together stay together. The
    result depends on the experiments alone, so that a job that starts again finds its runs.
    """
    own: list[Experiment] = []
    position = 0
    for experiment in experiments:
        seeds: list[int] = []
        for group in experiment.seed_groups:
            if position % shard.count == shard.number - 1:
                seeds += group
            position += 1
        if seeds:
            own.append(experiment.model_copy(update={"seeds": seeds}))
    return own


def describe_shard(
    shard: Shard, own: Sequence[Experiment], experiments: Sequence[Experiment], max_names: int = 8
) -> str:
    """Say which runs a shard trains, in one line."""
    names = [f"{experiment.name} seed{seed}" for experiment in own for seed in experiment.seeds]
    total = sum(len(experiment.seeds) for experiment in experiments)
    shown = names if len(names) <= max_names else [*names[: max_names - 1], f"and {len(names) - max_names + 1} more"]
    return f"shard {shard}: {len(names)} of {total} runs" + (f": {', '.join(shown)}" if names else "")
