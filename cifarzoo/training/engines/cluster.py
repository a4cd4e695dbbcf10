"""Read the processes of a multi-worker run from TF_CONFIG, TensorFlow's format, which the JAX engine also uses."""

import json
import os
from dataclasses import dataclass

from cifarzoo.errors import ExperimentError


@dataclass(frozen=True)
class Cluster:
    """The workers, and which of them this process is.

    Attributes:
        addresses: "host:port" of every process, chief first.
        index: Index of this process in `addresses`.
    """

    addresses: tuple[str, ...]
    index: int


def is_described() -> bool:
    """Whether the environment has a TF_CONFIG."""
    return bool(os.environ.get("TF_CONFIG"))


def has_workers(distribution: str) -> bool:
    """Whether a run with this `distribution` uses several processes."""
    return distribution == "multi_worker" or (distribution == "auto" and is_described())


def read_cluster() -> Cluster:
    """Read the cluster from TF_CONFIG.

    Raises:
        ExperimentError: TF_CONFIG is not set, or malformed.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        chief, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        if task["type"] not in ("chief", "worker") or not isinstance(task["index"], int) or task["index"] < 0:
            raise ValueError
        address = cluster[task["type"]][task["index"]]
        index = task["index"] + (len(chief) if task["type"] == "worker" else 0)
        if (chief + workers)[index] != address:
            raise ValueError
        return Cluster(tuple(chief + workers), index)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise ExperimentError(
            "distribution: multi_worker needs TF_CONFIG in the environment, differing in the index only: "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}; '
            f"got {text or 'nothing'!r}"
        ) from None
