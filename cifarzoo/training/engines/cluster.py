"""The processes of a multi-worker run, from TF_CONFIG: TensorFlow's own format, which the JAX engine reads as well."""

import json
import os
from dataclasses import dataclass

from cifarzoo.errors import ExperimentError


@dataclass(frozen=True)
class Cluster:
    """Where this process stands among the workers.

    Attributes:
        addresses: "host:port" of every process, chief first.
        index: Place of this process in `addresses`.
    """

    addresses: tuple[str, ...]
    index: int


def is_described() -> bool:
    """Whether the environment has a TF_CONFIG."""
    return bool(os.environ.get("TF_CONFIG"))


def read_cluster() -> Cluster:
    """The cluster that TF_CONFIG describes.

    Raises:
        ExperimentError: there is none, or it is malformed.
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
