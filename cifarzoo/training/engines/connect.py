"""Connect the workers of a multi-worker run by a `Channel` as soon as the backend can reduce over them."""

import atexit
import contextlib
import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge

import numpy as np

from cifarzoo.errors import TrainingError
from cifarzoo.training.engines.channel import TIMEOUT, Channel, end_process, leave_without_backend, timeout_seconds
from cifarzoo.training.engines.cluster import Cluster

KEY_BYTES = 32


@contextlib.contextmanager
def joining(cluster: Cluster) -> Iterator[None]:
    """Inside the block, end the process with an error line if the other workers do not join in time."""
    seconds = 5 * timeout_seconds()
    line = (
        f"not all of the {len(cluster.addresses)} workers of TF_CONFIG ({', '.join(cluster.addresses)}) have joined "
        f"within {seconds:.0f} s; start all of them, or set {TIMEOUT} to more than {timeout_seconds():.0f}"
    )
    timer = threading.Timer(seconds, end_process, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_channel: Channel | None = None


def connect(cluster: Cluster, from_chief: Callable[[np.ndarray], np.ndarray]) -> None:
    """Connect this process with the other workers; a second call does nothing.

    Args:
        cluster: The workers.
        from_chief: Returns the chief's int32 array on every worker. It carries the chief's port and the key with which
            both ends of a connection authenticate each other.

    Raises:
        TrainingError: this worker cannot reach the chief's port.
    """
    global _channel
    if _channel is not None:
        return
    count, index = len(cluster.addresses), cluster.index
    host = cluster.addresses[0].rsplit(":", 1)[0].strip("[]")  # "[::1]:2222" has an IPv6 address
    connections: dict[int, Connection] = {}
    if index:
        port, *key = from_chief(np.zeros(1 + KEY_BYTES, np.int32)).tolist()
        connections[0] = _dial(host, port, bytes(key))
        connections[0].send_bytes(json.dumps(index).encode())
    else:
        key = secrets.token_bytes(KEY_BYTES)
        family = "AF_INET6" if ":" in host else "AF_INET"
        with Listener(("", 0), family, backlog=count, authkey=key) as listener:
            from_chief(np.array([listener.address[1], *key], np.int32))
            while len(connections) < count - 1:
                with contextlib.suppress(AuthenticationError, OSError, EOFError):  # not a worker of this run
                    connection = listener.accept()
                    connections[json.loads(connection.recv_bytes())] = connection
    _channel = Channel(index, count, connections)


def _dial(host: str, port: int, key: bytes) -> Connection:
    """Connect to the chief, like `multiprocessing.connection.Client`, which does not support IPv6."""
    try:
        with socket.create_connection((host, port)) as dialed:
            connection = Connection(dialed.detach())
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
    except (OSError, EOFError, AuthenticationError) as failure:
        atexit.register(leave_without_backend)
        reason = getattr(failure, "strerror", None) or str(failure) or "it closed the connection"
        raise TrainingError(
            f"worker 0 cannot be reached at {host}:{port} ({reason}); let the machines in TF_CONFIG connect to each "
            "other on any port, because the system chooses this one, and start all workers again"
        ) from None
    return connection


def current(with_workers: bool) -> Channel:
    """Return the channel to the other workers; for a run on one process, a channel that does nothing."""
    return _channel if with_workers and _channel is not None else Channel()
