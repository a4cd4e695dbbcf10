"""Call a reader on hostile input in another process, and watch what it does.

A worker is a forked process that reads one input after another. While it reads, its memory is limited, an audit hook
records what it executes, connects to and changes, and the parent process ends it if it hangs. Linux only.
"""

import contextlib
import multiprocessing
import os
import re
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

MEGABYTE = 1 << 20
POLL_SECONDS = 0.2
# A readable message: at most this many lines (one per mistake in a file), each at most this long.
LONGEST_LINE, MOST_LINES = 2000, 20
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# The file that hostile input creates in the working directory when it is executed.
CANARY = "executed"

EXECUTES = {
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "pty.spawn",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
}
CHANGES = {
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
    "shutil.rmtree",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Verdict:
    """What a reader did with one input.

    Attributes:
        kind: "accepted", "refused" (a line per mistake), "unclear" (an unreadable refusal), "wrong" (accepted with
            values that cannot be right), "traceback" (another exception than a refusal), "hang", or "died".
        message: The message of the refusal, or details.
        seconds: Processor time.
        memory: Largest increase of memory during the call, in bytes.
        written: Paths outside the working directory that were written, moved or deleted.
        executed: Programs and connections that were started, and foreign code that ran.
    """

    kind: str
    message: str = ""
    seconds: float = 0.0
    memory: int = 0
    written: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)


class Wrong(Exception):
    """A reader accepted an input with values that cannot be right."""


class Watch:
    """The audit hook: records events while it is active."""

    def __init__(self, folder: Path):
        self.folder = os.path.realpath(folder)
        self.active = False
        self.written: list[str] = []
        self.executed: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event, arguments):
        if not self.active:
            return
        if event in EXECUTES:
            self.executed.append(f"{event} {arguments!r:.200}")
        elif event in CHANGES:
            first, last = {"os.rename": (0, 2), "os.link": (1, 2), "os.symlink": (1, 2)}.get(event, (0, 1))
            self._note_paths(event, arguments[first:last])
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and not isinstance(path, int):
                self._note_paths("open", [path])

    def _note_paths(self, event, paths):
        for path in paths:
            if isinstance(path, int):  # an open file
                continue
            parent, name = os.path.split(os.path.abspath(os.fsdecode(path)))
            real = os.path.join(os.path.realpath(parent), name)  # a link itself, not its target
            real = os.path.realpath(real) if event == "open" else real
            if real != self.folder and not real.startswith((self.folder + os.sep, "/dev/")):
                self.written.append(f"{event} {real}")

    @contextlib.contextmanager
    def watching(self):
        """Record events in the block."""
        self.written, self.executed = [], []
        modules = set(sys.modules)
        self.active = True
        try:
            yield
        finally:
            self.active = False
            if os.path.exists(CANARY):
                os.remove(CANARY)
                self.executed.append("code in the input")
            for name in set(sys.modules) - modules:
                file = getattr(sys.modules[name], "__file__", None) or ""
                if os.path.realpath(file).startswith(self.folder + os.sep) and os.path.exists(file):
                    self.executed.append(f"import {name}")
                    del sys.modules[name]


def judge(read: Callable[[], None], watch: Watch, memory: int, refusals: tuple[type[Exception], ...]) -> Verdict:
    """Call a reader and judge how it ends.

    Args:
        read: Calls the reader with its input. Raises Wrong if the reader accepts an input that it must refuse.
        watch: The audit hook.
        memory: Bytes that the reader may use in addition to the process's present memory.
        refusals: The exceptions that count as a refusal.
    """
    before, started = _reset_peak(), time.process_time()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with watch.watching():
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + memory, hard))
        try:
            read()
            verdict = Verdict("accepted")
        except Wrong as failure:
            verdict = Verdict("wrong", str(failure))
        except refusals as failure:
            text = str(failure)
            verdict = Verdict("refused" if _is_clear(text) else "unclear", text[: 2 * LONGEST_LINE])
        except BaseException as failure:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
            frames = traceback.extract_tb(failure.__traceback__)
            verdict = Verdict("traceback", f"{type(failure).__name__}: {failure!s:.200} ({_last_own(frames)})")
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    verdict.seconds = time.process_time() - started
    verdict.memory = max(0, _status("VmHWM") - before)
    verdict.written, verdict.executed = watch.written, watch.executed
    return verdict


def _is_clear(text):
    """Whether a message has few, short lines without control characters."""
    lines = text.split("\n")
    return len(lines) <= MOST_LINES and all(
        line.strip() and len(line) <= LONGEST_LINE and not CONTROL.search(line) for line in lines
    )


def _last_own(frames):
    """Return the last position in the package in a traceback."""
    own = [frame for frame in frames if f"{os.sep}cifarzoo{os.sep}" in frame.filename]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "outside the package"


def _status(key: str) -> int:
    """Return a size of this process in bytes, such as VmSize (address space) or VmHWM (peak memory)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def _reset_peak() -> int:
    """Reset VmHWM to the present memory, and return that."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _status("VmRSS")


class _Worker:
    """A process that answers tasks, one at a time.

    Attributes:
        task: The current task, None while it waits.
    """

    def __init__(self, serve):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        with warnings.catch_warnings():
            # JAX warns of forks, as its threads may hold locks; the worker only reads files, and needs none.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            self._process.start()
        theirs.close()
        self.task = None
        self._reads = False
        self._cpu = self._asleep = self._last_cpu = 0.0

    def begin(self, task):
        self.task, self._reads = task, False
        self.pipe.send(task)

    def answer(self) -> Verdict | None:
        """Return the verdict if there is one; None if the reader has only begun."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return Verdict("died", f"exit code {self._process.exitcode}")
        if answer is None:
            self._reads, self._cpu, self._asleep = True, self._processor_seconds(), 0.0
            self._last_cpu = self._cpu
        return answer

    def hangs(self, limit: float) -> bool:
        """Whether it has read for longer than `limit` seconds of processor time or sleep; call it while polling.

        Time spent waiting for a processor on a busy machine does not count.
        """
        if not self._reads:
            return False
        cpu = self._processor_seconds()
        self._asleep += POLL_SECONDS if cpu - self._last_cpu < 0.01 and self._sleeps() else 0.0
        self._last_cpu = cpu
        return cpu - self._cpu > limit or self._asleep > limit

    def _sleeps(self) -> bool:
        return self._stat()[0] in "SD"

    def _processor_seconds(self) -> float:
        fields = self._stat()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _stat(self) -> list[str]:
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8")
        except OSError:  # it has died; the pipe will report that
            return ["Z", *["0"] * 20]
        return text.rpartition(")")[2].split()

    def end(self):
        self._process.kill()
        self._process.join()
        self.pipe.close()


def run_all(tasks: Iterable, serve: Callable, jobs: int, limit: float):
    """Have workers answer all tasks, and yield each task with its verdict.

    Args:
        tasks: Objects that can be pickled.
        serve: Function that a worker runs with a pipe: for each task that it receives, it sends None when the reader
            begins, and then the verdict.
        jobs: Number of workers.
        limit: Seconds after which a reader counts as hanging and its worker is replaced.
    """
    tasks = iter(tasks)
    workers: list[_Worker] = []
    try:
        waiting = [task for _, task in zip(range(jobs), tasks, strict=False)]
        for task in waiting:
            workers.append(_Worker(serve))
            workers[-1].begin(task)
        while workers:
            ready = wait([worker.pipe for worker in workers], POLL_SECONDS)
            for worker in list(workers):
                verdict = worker.answer() if worker.pipe in ready else None
                if verdict is None and worker.hangs(limit):
                    verdict = Verdict("hang", f"ended after {limit:g} s", limit)
                if verdict is None:
                    continue
                yield worker.task, verdict
                if verdict.kind in ("hang", "died"):
                    worker.end()
                    workers.remove(worker)
                    worker = _Worker(serve)
                    workers.append(worker)
                task = next(tasks, None)
                if task is None:
                    worker.end()
                    workers.remove(worker)
                else:
                    worker.begin(task)
    finally:
        for worker in workers:
            worker.end()
