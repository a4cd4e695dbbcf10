"""Tasks on a cluster: what one gets, how its process begins, and waiting for many of them."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarzoo.errors import ClusterError, TrainingError, summarize
from cifarzoo.notebook import say
from cifarzoo.training.stopping import Interrupted, StopRequest
from cifarzoo.user_code import find_modules

# How often a task starts again after its process or node died. One that dies each time has too little memory.
RETRIES = 3
POLL_SECONDS = 1.0
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


def remote(ray: Any, function: Callable[..., Any], resources: Resources) -> Any:
    """Return a function as a task that gets these resources, and a process for each call.

    Keras, TensorFlow and JAX are set up once per process.

    Raises:
        ClusterError: no node has the resources; Ray would wait for one forever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = resources.gpus
    if gpus is None:
        gpus = float(any(node.get("GPU", 0) for node in nodes))
    if not any(node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= gpus for node in nodes):
        sizes = ", ".join(f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ClusterError(f"no node has {resources.cpus} cores and {gpus:g} GPUs for a task; the nodes have {sizes}")
    threads = {"env_vars": {name: str(resources.cpus) for name in THREADS}}
    return ray.remote(max_calls=1, max_retries=RETRIES, num_cpus=resources.cpus, num_gpus=gpus, runtime_env=threads)(
        function
    )


def ended(
    ray: Any, tasks: dict[Any, Any], stop: StopRequest, wait: Callable[[], None] = lambda: None
) -> Iterator[tuple[Any, Any]]:
    """Yield tasks as they end. After a request to stop, interrupt those that run, and cancel the others.

    Args:
        ray: The connected module.
        tasks: What identifies each task, by Ray's reference to it.
        stop: The request.
        wait: Called about once a second.

    Yields:
        What identifies the task, and what it returned; or else the exception: what it raised, `Interrupted` if it was
        cancelled, or `TrainingError` if its process or node died too often.
    """
    pending, cancelled = dict(tasks), False
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=POLL_SECONDS)
        for task in ready:
            yield pending.pop(task), _result(ray, task)
        wait()
        if stop.signal and pending and not cancelled:
            cancelled = True
            say("stopping: what runs saves first; the same command resumes it")
            for task in pending:
                ray.cancel(task, force=False)


def _result(ray: Any, task: Any) -> Any:
    try:
        return ray.get(task)
    except ray.exceptions.TaskCancelledError:
        return Interrupted("not started, as it was stopped; the same command resumes it")
    except ray.exceptions.RayTaskError as failure:
        return failure.cause if isinstance(failure.cause, Exception) else TrainingError(summarize(failure))
    except Exception as failure:  # the process, its node or the cluster
        return TrainingError(f"its process or node died {RETRIES + 1} times ({summarize(failure)})")
