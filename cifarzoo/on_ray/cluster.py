"""Connect to a Ray cluster, or start one on this machine."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from cifarzoo.errors import ClusterError, summarize
from cifarzoo.extras import install_command

SECONDS_TO_ANSWER = 10.0
# Variables of this process that processes on the cluster get, too.
TRAVELING = (
    "CIFARZOO_CACHE",
    "CIFARZOO_DATA",
    "CIFARZOO_DEBUG",
    "CIFARZOO_WEIGHTS",
    "KERAS_BACKEND",
    "KERAS_HOME",
    "TF_CPP_MIN_LOG_LEVEL",
)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Yield the module `ray`, connected to a cluster until the end of the context.

    Args:
        address: Of the cluster, such as "10.0.0.1:6379", or "auto" for the one that runs on this machine. Default: that
            in RAY_ADDRESS, or else a new one of this machine's processors, which ends with the context.

    Raises:
        ClusterError: Ray is not installed, no cluster answers, or its versions of Python or Ray are others.
    """
    if find_spec("ray") is None:
        raise ClusterError(f"--executor ray: needs a package that is not installed: {install_command('ray')}")
    default = os.environ.get("RAY_ADDRESS", "")
    where = f"--address {address}" if address else f"RAY_ADDRESS={default}" if default else "--executor ray"
    joins = bool(address or default)
    if joins:
        _check_answers(address or default, where)
        # Ray tries 20 times, 40 seconds each, where something else than a cluster listens. It reads this when imported.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    variables = {name: os.environ[name] for name in TRAVELING if name in os.environ}
    # Without an address Ray would join a cluster that already runs on this machine, whoever started it.
    joined = {"address": address} if joins else {"address": "local", "include_dashboard": False}
    try:
        ray.init(
            runtime_env={"env_vars": variables},
            log_to_driver=False,
            logging_level=logging.ERROR,
            **joined,
        )
    except Exception as failure:  # Ray has no common class of its errors, and some are Python's
        reason = summarize(failure)
        may_be_token = joins and "Version mismatch" not in reason
        hint = "; set RAY_AUTH_MODE to the same value on all nodes and here" if may_be_token else ""
        raise ClusterError(f"{where}: cannot connect to a Ray cluster ({reason}){hint}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str, where: str) -> None:
    """Raise ClusterError if nothing listens at HOST:PORT, which Ray itself tries for minutes."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()
    except ValueError:
        raise ClusterError(f"{where}: expected HOST:PORT or auto") from None
    except OSError as failure:
        raise ClusterError(f"{where}: nothing answers there ({failure.strerror or failure})") from None
