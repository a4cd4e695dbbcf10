"""Start commands of cifarzoo in processes that die at a chosen moment.

Importing Keras takes longer than training these networks, so a server imports it once and forks a process per command,
before the backend computes anything. Linux only.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEST_IMAGES = 100
CHANGES = {"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Death:
    """When to kill a process; set one attribute.

    Attributes:
        operation: Kill it by SIGKILL before its n-th file operation (open for writing, rename, remove, mkdir) below its
            folder.
        byte: Kill it while it writes the byte after the n-th to a file, by SIGXFSZ, which ends the process at once.
        seconds: Kill it by SIGKILL this long after it began.
    """

    operation: int | None = None
    byte: int | None = None
    seconds: float | None = None


class Server:
    """A process that has imported Keras and forks a process per command.

    Args:
        backend: The Keras backend.
    """

    def __init__(self, backend: str):
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent.parent), str(HERE)])
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "processes.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"{backend}: cannot be imported")

    def ask(self, request: dict):
        """Send a request and return the answer."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        """End the server."""
        self._process.stdin.close()
        self._process.wait()


class Command:
    """A running command.

    Args:
        server: Starts it.
        words: The command's arguments.
        folder: Its working directory; output goes to output.txt there.
        death: When to kill it, or None.
        environment: Additional environment variables.
    """

    def __init__(self, server: Server, words, folder: Path, death: Death | None = None, environment=()):
        self._server, self._status = server, None
        death = death or Death()
        self._ends = None if death.seconds is None else time.monotonic() + death.seconds
        self._pid = server.ask(
            {
                "words": list(words),
                "folder": str(folder),
                "operation": death.operation,
                "byte": death.byte,
                "environment": dict(environment),
            }
        )

    def status(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs; kill it when its time is up."""
        if self._status is None and self._ends is not None and time.monotonic() > self._ends:
            self.kill()
        if self._status is None:
            self._status = self._server.ask({"wait": self._pid})
        return self._status

    def kill(self):
        """Kill it with SIGKILL."""
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            while self._status is None:
                self._status = self._server.ask({"wait": self._pid})
                time.sleep(0.01)

    def wait(self, limit: float) -> int | None:
        """Return the exit status; None if it had to be killed after `limit` seconds."""
        deadline = time.monotonic() + limit
        while (status := self.status()) is None:
            if time.monotonic() > deadline:
                self.kill()
                return None
            time.sleep(0.02)
        return status


def count_path(folder: Path) -> Path:
    """Return the file with the number of file operations of the last command that was not killed."""
    return folder / "operations.txt"


# ----------------------------------------------------------------------------------------------------- the server


def _serve():
    """Answer requests on stdin."""
    from cifarzoo.data import synthetic

    train, (images, labels) = synthetic.draw()
    drawn = train, (images[:TEST_IMAGES], labels[:TEST_IMAGES])
    synthetic.draw = lambda: drawn
    import cifarzoo.publishing.publish
    import cifarzoo.training.runner
    import cifarzoo.training.trainer  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        pid = os.fork()
        if not pid:
            _run(request)
        print(pid, flush=True)


def _run(request):
    """Run a command in this forked process, then end the process."""
    folder = Path(request["folder"])
    os.chdir(folder)
    os.environ.update(request["environment"])
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["byte"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["byte"],) * 2)
    operations = 0

    def note(event, arguments):
        nonlocal operations
        if event == "open":
            path, _, flags = arguments
            counts = isinstance(flags, int) and flags & WRITING and not isinstance(path, int)
        else:
            counts = event in CHANGES
        if counts and os.path.abspath(os.fsdecode(arguments[0])).startswith(str(folder)):
            operations += 1
            if operations == request["operation"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)
    sys.argv = ["cifarzoo", *request["words"]]
    from cifarzoo import cli

    status = 1
    try:
        cli.main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        total = operations
        count_path(folder).write_text(str(total), encoding="utf-8")
        os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    _serve()
