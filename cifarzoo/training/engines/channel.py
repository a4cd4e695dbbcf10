"""Messages between the workers of a multi-worker run, beside the reductions of the backend.

A reduction combines whatever the processes happen to send next, so workers that are not at the same place of the same
run mix their gradients, and one that waits for a dead worker waits forever. Over this channel the workers say where
they are (`Channel.exchange`), that they failed (`Channel.fail`), and every second that they are alive. It is the same
for all backends: TCP connections of `multiprocessing.connection` between the chief and every other worker, with JSON
messages. `cifarzoo.training.engines.connect` makes the connections.
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

from cifarzoo.errors import CifarzooError, ExperimentError, TrainingError

TIMEOUT = "CIFARZOO_WORKER_TIMEOUT"
# How long a worker that another one's failure has reached may take to notice, before its process ends.
GRACE_SECONDS = 15
BEAT_SECONDS = 1


class WorkerError(TrainingError):
    """Another worker failed or left, or the workers do not agree."""


def timeout_seconds() -> float:
    """Return after how many seconds of silence a worker counts as gone: `CIFARZOO_WORKER_TIMEOUT`, by default 60.

    Raises:
        ExperimentError: it is no number of at least 1.
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
    """Connects this process to the other workers of its cluster; with one process, it does nothing.

    Args:
        index: Which worker this process is; 0 is the chief.
        count: Number of workers.
        connections: To every other worker, by index, on the chief; to the chief on every other worker.

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
        self._depth = 0  # of `working`; 0 from the moment when everybody has reached its end
        self._is_last = False  # whether the current exchange is that end
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
                # When the chief dies, JAX prints a C++ stack within 5 ms, the time that Python lets a busy thread run.
                sys.setswitchinterval(0.0005)

    # ------------------------------------------------------------------------------------------------ for the run

    @property
    def failure(self) -> str | None:
        """Why the workers cannot continue together, None if they can."""
        return self._failure

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While active, this process needs the others: an exception that leaves the block is a failure of all."""
        self._depth += 1
        try:
            yield
            if self._depth == 1 and self._failure is None:
                self._is_last = True
                self.exchange("the end")  # nobody leaves while another one may still need it
            else:
                self._depth -= 1
        except BaseException as failure:
            self._depth -= 1
            self.fail(str(failure) or type(failure).__name__)
            raise

    def exchange(self, topic: str, value: Any = None) -> list[Any]:
        """Send a value to all workers, and return the values of all, by worker; blocks until every worker has sent one.

        Args:
            topic: Where this process is, in words; it must be the same on all.
            value: Plain data (JSON).

        Raises:
            WorkerError: another worker failed, left, or is elsewhere.
        """
        if self.count == 1:
            self._conclude()
            return [value]
        if self._failure is not None:
            self._noticed = True
            raise WorkerError(self._failure)
        self._turn += 1
        value = json.loads(json.dumps(value))  # as the others get it
        message = {"turn": self._turn, "topic": topic, "value": value}
        if self.index:
            self._send(0, message)
            reply = self._wait(lambda: self._replies.pop(self._turn, None))
            if error := reply.get("error"):
                self._raise(error)
            return reply["values"]
        others = self._wait(self._everybody)
        messages = [message, *(others[worker] for worker in range(1, self.count))]
        strangers = [worker for worker, one in enumerate(messages) if one["topic"] != topic]
        if strangers:
            worker = strangers[0]
            error = f"the workers are not at the same place: worker 0 at {topic}, worker {worker} at "
            error += f"{messages[worker]['topic']}; start all workers again with the same files"
            self._tell_all({"turn": self._turn, "error": error})
            self._raise(error)
        values = [one["value"] for one in messages]
        self._conclude()
        self._tell_all({"turn": self._turn, "values": values})
        return values

    def fail(self, reason: str) -> None:
        """Tell the other workers that this one cannot continue; does nothing where they know or are the reason."""
        with self._news:
            if self.count == 1 or self._failure is not None:
                self._noticed = True
                return
            self._failure, self._noticed = reason, True
        self._tell_all({"failed": self.index, "reason": reason})

    def explain(self, failure: Exception) -> Exception:
        """Return the cause of an exception in a reduction: another worker's failure, or the exception itself."""
        if self.count == 1 or isinstance(failure, CifarzooError):
            return failure
        with self._news:  # a backend may notice before the message arrives, or a few signs of life are missing
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
        """Wait until `arrived` returns something, which it returns."""
        with self._news:
            while (found := arrived()) is None:
                if self._failure is None and self._left:
                    self._failure = f"worker {min(self._left)} has ended; start all workers again to resume"
                if self._failure is not None:
                    self._noticed = True
                    raise WorkerError(self._failure)
                self._news.wait()
        return found

    def _conclude(self):
        """End `working` if the exchange that has succeeded is its last; nobody has been able to leave before."""
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
        with contextlib.suppress(OSError), self._sending[worker]:  # its listener notices that it is gone
            self._connections[worker].send_bytes(json.dumps(message).encode())

    def _tell_all(self, message, but=None):
        for worker in self._connections:
            if worker != but:
                self._send(worker, message)

    def _beat(self):
        """Send a sign of life, often enough."""
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
        with self._news:  # so that the main thread neither continues nor reports a consequence
            if worker not in self._left and self._failure is None and self._depth:
                line = f"worker {worker} {silence}; start all workers again to resume"
                self._tell_all({"failed": worker, "reason": line}, but=worker)
                end_process(line)
            self._left.add(worker)
            self._news.notify_all()

    def _handle(self, worker, message):
        with self._news:
            self._heard[worker] = time.monotonic()
            if "failed" in message and self._failure is None:
                failed, reason = message["failed"], message["reason"]
                gone = reason.startswith(f"worker {failed} ")
                self._failure = reason if gone else f"worker {failed} failed: {reason}"
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
        """End the process after a while, if the main thread waits for a worker that no longer takes part."""

        def end():
            if self._depth and not self._noticed:
                end_process(self._failure)

        timer = threading.Timer(GRACE_SECONDS, end)
        timer.daemon = True
        timer.start()

    def _leave(self):
        """Say goodbye; after a failure, end the process here, because the backend would wait for the other workers."""
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the process is ending already
        if self._failure is None:
            self._tell_all({"left": self.index})
            return
        if not self.index:  # a backend ends the other processes when the chief does
            with self._news:
                self._news.wait_for(lambda: len(self._left) == self.count - 1, timeout=GRACE_SECONDS)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def end_process(line: str | None) -> None:
    """End the process at once: the main thread waits in the backend, which nothing interrupts."""
    print(line, file=sys.stderr, flush=True)
    os._exit(1)
