"""Messages between the workers of a multi-worker run, apart from the backend's reductions.

A reduction combines whatever the processes happen to send next: workers at different steps or in different runs mix
their gradients, and a worker that waits for a dead one waits forever. Over this channel, workers compare their position
(`Channel.exchange`), report failures (`Channel.fail`) and send a heartbeat every second. It works alike for all
backends: TCP connections (`multiprocessing.connection`) between the chief and every other worker carry JSON messages.
`cifarzoo.training.engines.connect` opens them.
"""

import atexit
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from cifarzoo.errors import CifarzooError, ExperimentError, TrainingError, one_line, summarize

TIMEOUT = "CIFARZOO_WORKER_TIMEOUT"
# Seconds that a worker's main thread has to notice the failure of another worker before its process ends.
GRACE_SECONDS = 15
BEAT_SECONDS = 1


class WorkerError(TrainingError):
    """Another worker failed or left, or the workers do not agree."""


def timeout_seconds() -> float:
    """Return the seconds of silence after which a worker counts as dead: `CIFARZOO_WORKER_TIMEOUT`, by default 60.

    Raises:
        ExperimentError: the value is not a number of at least 1.
    """
    text = os.environ.get(TIMEOUT, "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 1 <= seconds < 1e6:
        raise ExperimentError(f"{TIMEOUT}: expected seconds, at least 1, got {text!r}")
    return seconds


class Channel:
    """Connects this process to the other workers of its cluster; does nothing if there is only one process.

    Args:
        index: Index of this process among the workers; 0 is the chief.
        count: Number of workers.
        connections: By worker. The chief has a connection to every other worker, each of these one to the chief.

    Attributes:
        index, count: See above.
    """

    def __init__(self, index: int = 0, count: int = 1, connections: dict[int, Connection] | None = None):
        self.index, self.count = index, count
        self._connections = connections or {}
        self._timeout = timeout_seconds()
        self._news = threading.Condition()
        self._sending = {worker: threading.Lock() for worker in self._connections}
        self._turn = 0  # number of exchanges so far
        self._received: dict[int, dict[int, Any]] = {}  # turn -> worker -> message
        self._replies: dict[int, dict[str, Any]] = {}  # turn -> the chief's reply
        self._depth = 0  # nesting of `working` blocks; 0 once all workers have reached the end of the outermost
        self._is_last = False  # whether the current exchange is at that end
        self._failure: str | None = None  # why the workers cannot continue together
        self._noticed = False  # whether the main thread has raised it
        self._left: set[int] = set()
        self._heard = dict.fromkeys(self._connections, time.monotonic())
        if self._connections:
            for worker in self._connections:
                threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
            threading.Thread(target=self._beat, daemon=True).start()
            atexit.register(self._leave)
            if self.index:
                # If the chief dies, JAX prints a C++ stack within 5 ms, Python's default switch interval. React sooner.
                sys.setswitchinterval(0.0005)

    # ------------------------------------------------------------------------------------------------ for the run

    @property
    def failure(self) -> str | None:
        """Why the workers cannot continue together; None if they can."""
        return self._failure

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Run a block in which the workers depend on each other: an exception that leaves it fails all workers."""
        self._depth += 1
        try:
            yield
            if self._depth == 1 and self._failure is None:
                self._is_last = True
                self.exchange("the end")  # no worker leaves while another may still need it
            else:
                self._depth -= 1
        except BaseException as failure:
            self._depth -= 1
            self.fail(failure)
            raise

    def exchange(self, topic: str, value: Any = None) -> list[Any]:
        """Exchange values: wait until every worker has sent its own, and return all of them in the order of workers.

        Args:
            topic: The point that this process has reached, in words; it must be the same on all workers.
            value: Plain data (JSON).

        Raises:
            WorkerError: another worker failed, left, or is at a different point.
        """
        if self.count == 1:
            self._conclude()
            return [value]
        if self._failure is not None:
            self._noticed = True
            raise WorkerError(self._failure)
        self._turn += 1
        value = json.loads(json.dumps(value))  # equal to what the other workers receive
        message = {"turn": self._turn, "topic": topic, "value": value}
        if self.index:
            self._send(0, message)
            reply = self._wait(lambda: self._replies.pop(self._turn, None))
            if error := reply.get("error"):
                self._raise(error)
            return reply["values"]
        others = self._wait(self._everybody)
        messages = [message, *(others[worker] for worker in range(1, self.count))]
        mismatched = [worker for worker, message in enumerate(messages) if message["topic"] != topic]
        if mismatched:
            worker = mismatched[0]
            error = f"the workers are out of step: worker 0 at {topic}, worker {worker} at "
            error += f"{messages[worker]['topic']}; start all workers again with the same files"
            self._tell_all({"turn": self._turn, "error": error})
            self._raise(error)
        values = [message["value"] for message in messages]
        self._conclude()
        self._tell_all({"turn": self._turn, "values": values})
        return values

    def fail(self, reason: str | BaseException) -> None:
        """Tell the other workers that this one cannot continue, unless a failure is known already."""
        with self._news:
            if self.count == 1 or self._failure is not None:
                self._noticed = True
                return
            line = one_line(reason) if isinstance(reason, str) else _line_about(reason)
            self._failure, self._noticed = line, True
        self._tell_all({"failed": self.index, "reason": line})

    def explain(self, failure: Exception) -> Exception:
        """Return the cause of an exception in a reduction: another worker's failure, or the exception itself."""
        if self.count == 1 or isinstance(failure, CifarzooError):
            return failure
        with self._news:  # a backend may notice before the message arrives or enough heartbeats are missing
            self._news.wait_for(lambda: self._failure is not None, timeout=4 * BEAT_SECONDS)
            silent = [worker for worker, at in self._heard.items() if time.monotonic() - at > 3 * BEAT_SECONDS]
            if self._failure is None and silent:
                self._failure = f"worker {silent[0]} is silent; start all workers again to resume"
            if self._failure is None or self._noticed:
                return failure
            self._noticed = True
            return WorkerError(self._failure)

    # ------------------------------------------------------------------------------------------------ waiting

    def _wait(self, arrived: Callable[[], Any]) -> Any:
        """Wait until `arrived` returns a result other than None, and return it."""
        with self._news:
            while (result := arrived()) is None:
                if self._failure is None and self._left:
                    self._failure = f"worker {min(self._left)} has ended; start all workers again to resume"
                if self._failure is not None:
                    self._noticed = True
                    raise WorkerError(self._failure)
                self._news.wait()
        return result

    def _conclude(self):
        """End `working` if its last exchange has succeeded; no worker could leave before."""
        if self._is_last:
            self._depth, self._is_last = 0, False

    def _everybody(self):
        received = self._received.get(self._turn, {})
        return self._received.pop(self._turn) if len(received) == self.count - 1 else None

    def _raise(self, error):
        with self._news:
            self._failure, self._noticed = error, True
        raise WorkerError(error)

    # ------------------------------------------------------------------------------------------------ messages

    def _send(self, worker, message):
        with contextlib.suppress(OSError), self._sending[worker]:  # `_listen` notices a lost connection
            self._connections[worker].send_bytes(json.dumps(message).encode())

    def _tell_all(self, message, but=None):
        for worker in self._connections:
            if worker != but:
                self._send(worker, message)

    def _beat(self):
        """Send heartbeats, several per timeout."""
        while True:
            time.sleep(min(BEAT_SECONDS, self._timeout / 4))
            self._tell_all({})

    def _listen(self, worker):
        connection = self._connections[worker]
        try:
            while connection.poll(self._timeout):
                self._handle(worker, json.loads(connection.recv_bytes()))
            silence = f"has been silent for {self._timeout:.0f} s"
        except (OSError, EOFError):
            silence = "is gone"
        with self._news:  # keeps the main thread from continuing, and from reporting a follow-up error
            if worker not in self._left and self._failure is None and self._depth:
                line = f"worker {worker} {silence}; start all workers again to resume"
                self._tell_all({"failed": worker, "reason": line, "gone": True}, but=worker)
                end_process(line)
            self._left.add(worker)
            self._news.notify_all()

    def _handle(self, worker, message):
        with self._news:
            self._heard[worker] = time.monotonic()
            if "failed" in message and self._failure is None:
                failed, reason = message["failed"], message["reason"]
                self._failure = reason if message.get("gone") else f"worker {failed} failed: {reason}"
                self._end_unless_noticed()
            elif "left" in message:
                self._left.add(worker)
                if self._depth and self._failure is None:
                    self._failure = f"worker {worker} has ended; start all workers again to resume"
                    self._end_unless_noticed()
            elif "topic" in message:
                self._received.setdefault(message["turn"], {})[worker] = message
            elif "turn" in message:
                self._replies[message["turn"]] = message
                if "values" in message:
                    self._conclude()
            self._news.notify_all()
        if "failed" in message and not self.index:
            self._tell_all(message, but=worker)

    # ------------------------------------------------------------------------------------------------ the end

    def _end_unless_noticed(self):
        """End the process after a while if its main thread still waits for a worker that has failed or left."""

        def end():
            if self._depth and not self._noticed:
                end_process(self._failure)

        timer = threading.Timer(GRACE_SECONDS, end)
        timer.daemon = True
        timer.start()

    def _leave(self):
        """Announce a normal end; after a failure, end the process here."""
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the process is ending already
        if self._failure is None:
            self._tell_all({"left": self.index})
            return
        if not self.index:  # the chief leaves last, because its end makes a backend kill the other processes
            with self._news:
                self._news.wait_for(lambda: len(self._left) == self.count - 1, timeout=GRACE_SECONDS)
        leave_without_backend()


def leave_without_backend() -> None:
    """End the process with status 1 without the backend's exit handlers, which would wait for the other workers."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _line_about(failure: BaseException) -> str:
    """Describe an exception that ends this worker in one line for the other workers."""
    if isinstance(failure, KeyboardInterrupt):
        return "it was interrupted"
    return one_line(summarize(failure)) if isinstance(failure, Exception) else type(failure).__name__


def end_process(line: str | None) -> None:
    """End the process at once: the main thread waits in the backend and cannot be interrupted."""
    print(one_line(line or ""), file=sys.stderr, flush=True)
    os._exit(1)
