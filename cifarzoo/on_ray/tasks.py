"""Tasks on a cluster: what one gets, how its process begins, and waiting for many of them."""

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cifarzoo.errors import ClusterError, TrainingError, summarize
from cifarzoo.notebook import say
from cifarzoo.training.stopping import Interrupted, StopRequest
from cifarzoo.user_code import find_modules

# How often a task starts again after its process or node died. One that dies each time has too little memory.
RETRIES = 3
POLL_SECONDS = 1.0
# How often to look whether any node can run a task, and for how long to wait for one.
WATCH_SECONDS, LOST_SECONDS = 30.0, 600.0
MANY = 10**9
# Numbers of threads of TensorFlow, and of XLA, which JAX uses.
THREADS = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC"


@dataclass(frozen=True)
class Resources:
    """What one task gets.

    Attributes:
        cpus: Processor cores, and threads of the engine.
        gpus: GPUs; None stands for one where the cluster has any.
    """

    cpus: int = 1
    gpus: float | None = None

    def __str__(self) -> str:
        return _size(self.cpus, self.gpus or 0)


def _size(cpus: float, gpus: float) -> str:
    return f"{cpus:g} core{'' if cpus == 1 else 's'} and {gpus:g} GPU{'' if gpus == 1 else 's'}"


@dataclass(frozen=True)
class Process:
    """How the process of a task begins: in the folder of the one that submits it, with the same modules.

    Attributes:
        folder: The working directory.
        modules: The folder where the user's own modules are, None without any.
    """

    folder: Path
    modules: Path | None = None

    def begin(self) -> None:
        """Set up this process.

        Raises:
            ClusterError: this node does not have the folder.
        """
        try:
            os.chdir(self.folder)
        except OSError as failure:
            raise ClusterError(f"{self.folder}: is not on node {platform.node()} ({failure.strerror})") from None
        if self.modules:
            find_modules(self.modules)


def resolved(ray: Any, resources: Resources) -> Resources:
    """Return the resources with the number of GPUs filled in: one if the cluster has any.

    Raises:
        ClusterError: no node has the resources; Ray would wait for one forever.
    """
    nodes = _nodes(ray)
    if resources.gpus is None:
        resources = replace(resources, gpus=float(any(node.get("GPU", 0) for node in nodes)))
    if not places(ray, resources):
        sizes = ", ".join(_size(node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)
        raise ClusterError(f"no node has {resources} for a task; the nodes have {sizes}")
    return resources


def places(ray: Any, resources: Resources) -> int:
    """Return how many tasks with these resources fit on the nodes at once, if nothing else runs there."""
    return sum(
        min(int(node.get("CPU", 0) // resources.cpus), _places_on_gpus(node.get("GPU", 0), resources.gpus or 0))
        for node in _nodes(ray)
    )


def _places_on_gpus(gpus: float, share: float) -> int:
    """Return how many tasks fit on a node's GPUs; a share of one cannot span two."""
    if not share:
        return MANY
    whole = 1e-6  # 1 / 0.2 and the like are whole numbers up to rounding
    return int(gpus) * int(1 / share + whole) if share < 1 else int(gpus / share + whole)


def remote(ray: Any, function: Callable[..., Any], resources: Resources) -> Any:
    """Return a function as a task that gets these resources, as `resolved` returns them, and a process for each call.

    Keras, TensorFlow and JAX are set up once per process.
    """
    threads = {"env_vars": {name: str(resources.cpus) for name in THREADS}}
    options = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "runtime_env": threads}
    return ray.remote(max_calls=1, max_retries=RETRIES, **options)(function)


def ended(
    ray: Any, tasks: dict[Any, Any], resources: Resources, stop: StopRequest, wait: Callable[[], None] = lambda: None
) -> Iterator[tuple[Any, Any]]:
    """Yield tasks as they end. After a request to stop, interrupt those that run, and cancel the others.

    Args:
        ray: The connected module.
        tasks: What identifies each task, by Ray's reference to it.
        resources: What each of them needs.
        stop: The request.
        wait: Called about once a second.

    Yields:
        What identifies the task, and what it returned; or else the exception: what it raised, `Interrupted` if it was
        cancelled, `TrainingError` if its process or node died too often, or `ClusterError` if for several minutes no
        node has had the resources, as nodes have died.
    """
    pending, cancelled = dict(tasks), False
    watch = _Watch(ray, resources)
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=POLL_SECONDS)
        for task in ready:
            yield pending.pop(task), _result(ray, task)
        wait()
        if lost := watch.look():
            yield from ((name, lost) for name in pending.values())
            return
        if stop.signal and pending and not cancelled:
            cancelled = True
            say("stopping: running tasks save first; the same command resumes the rest")
            for task in pending:
                ray.cancel(task, force=False)


class _Watch:
    """Notices that no living node can run a task any more, for which Ray would wait forever."""

    def __init__(self, ray: Any, resources: Resources):
        self._ray, self._resources = ray, resources
        self._next = self._last_seen = time.monotonic()
        self._has_said = False

    def look(self) -> ClusterError | None:
        """Look if it is time to; return the error if no node has been able to for `LOST_SECONDS`."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + WATCH_SECONDS
        fits = False
        with contextlib.suppress(Exception):  # a head that starts again does not answer meanwhile
            fits = places(self._ray, self._resources) > 0
        if fits:
            self._last_seen, self._has_said = now, False
        elif now - self._last_seen > LOST_SECONDS:
            return ClusterError(f"no node with {self._resources} is left; the same command resumes what was saved")
        elif not self._has_said:
            self._has_said = True
            say(f"no node with {self._resources} is left; waiting for one")
        return None


def _nodes(ray: Any) -> list[dict[str, float]]:
    """Return the resources of the living nodes."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _result(ray: Any, task: Any) -> Any:
    errors = ray.exceptions
    try:
        return ray.get(task)
    except errors.TaskCancelledError:
        return Interrupted("not started, as it was stopped; the same command resumes it")
    except errors.RayTaskError as failure:
        return failure.cause if isinstance(failure.cause, Exception) else TrainingError(summarize(failure))
    except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as failure:
        return TrainingError(f"its process or node died {RETRIES + 1} times ({summarize(failure)})")
    except Exception as failure:  # the cluster, or a result that cannot be read here
        return TrainingError(f"the cluster could not run it ({summarize(failure)})")
