"""What the workers of a multi-worker run tell each other: two or three channels in one process."""

import queue
import socket
import sys
import threading
import time
from multiprocessing import Pipe

import pytest

from cifarzoo.data import load
from cifarzoo.errors import ExperimentError, TrainingError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training.agreement import agree_on_run
from cifarzoo.training.engines import channel as module
from cifarzoo.training.engines import connect as connecting
from cifarzoo.training.engines.channel import Channel, WorkerError
from cifarzoo.training.engines.cluster import Cluster
from cifarzoo.training.job import prepare


@pytest.fixture
def ended(monkeypatch):
    """The lines with which processes would have ended."""
    lines = []
    monkeypatch.setattr(module, "end_process", lines.append)
    monkeypatch.setattr(module.atexit, "register", lambda function: None)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.1)
    return lines


@pytest.fixture
def connect(ended):
    """A function that connects the channels of some workers; the connections are closed at the end."""
    pipes, channels = [], []
    interval = sys.getswitchinterval()

    def connect(count):
        pairs = {worker: Pipe() for worker in range(1, count)}
        pipes.extend(end for pair in pairs.values() for end in pair)
        chief = Channel(0, count, {worker: pair[0] for worker, pair in pairs.items()})
        workers = [chief, *(Channel(worker, count, {0: pair[1]}) for worker, pair in pairs.items())]
        channels.extend(workers)
        return workers, pairs

    yield connect
    for channel in channels:
        channel._depth = 0  # otherwise its threads, which outlive the test, would end this process
    sys.setswitchinterval(interval)
    for end in pipes:
        end.close()


def at_once(*functions):
    """Call functions in threads of their own; returns what each returned or raised."""
    found = [None] * len(functions)

    def call(number, function):
        try:
            found[number] = function()
        except Exception as failure:
            found[number] = failure

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "a worker waits forever"
    return found


def test_every_worker_gets_the_values_of_all(connect):
    workers, _ = connect(3)
    for _ in range(2):
        found = at_once(*(lambda one=one: one.exchange("here", {"from": (one.index, "a")}) for one in workers))
        assert found == [[{"from": [index, "a"]} for index in range(3)]] * 3


PRECISIONS = [{"precision": precision} for precision in ("float32", "bfloat16")]
LENGTHS = [{"train_parameters": {"steps_per_call": steps}} for steps in (50, 390)]
BATCHES = [{"train_parameters": {"batch_size": size}} for size in (64, 128)]


@pytest.mark.parametrize(
    ("settings", "key", "values", "remedy"),
    [
        (
            PRECISIONS,
            "precision",
            ('"float32"', '"bfloat16"'),
            "`auto` chooses by the processor and the backend's version, so set `precision` to one value for all",
        ),
        (
            LENGTHS,
            "train_parameters.steps_per_call",
            (50, 390),
            "`auto` chooses by the device, so set `train_parameters.steps_per_call` to one value for all",
        ),
        (BATCHES, "train_parameters.batch_size", (64, 128), "give all workers the same files, options and logdir"),
    ],
    ids=["precision", "steps_per_call", "batch_size"],
)
def test_workers_that_differ_are_told_what_to_set(connect, settings, key, values, remedy):
    workers, _ = connect(2)
    document = {"model": "cifar_resnet20", "dataset": "synthetic", "distribution": "none"}
    jobs = [prepare(Experiment.model_validate(document | one), load("synthetic")) for one in settings]
    for failure in at_once(*(lambda pair=pair: agree_on_run(*pair, 0) for pair in zip(workers, jobs, strict=True))):
        assert str(failure) == (
            f"the workers do not agree on the run of cifar_resnet20, seed 0: experiment.{key}: "
            f"{values[0]} on worker 0, {values[1]} on worker 1; {remedy}, and start them again"
        )


def test_a_single_process_has_nobody_to_ask():
    alone = Channel()
    with alone.working():
        assert alone.exchange("here", 1) == [1]
    alone.fail("whatever")
    assert alone.failure is None and alone.exchange("there") == [None]


def test_workers_at_different_places_all_stop(connect):
    (chief, worker), _ = connect(2)
    found = at_once(lambda: chief.exchange("step 8 of a"), lambda: worker.exchange("step 8 of b"))
    for failure in found:
        assert isinstance(failure, WorkerError)
        assert "worker 0 at step 8 of a, worker 1 at step 8 of b; start all workers again" in str(failure)


def test_a_failure_reaches_those_who_wait_and_those_who_come_later(connect):
    (chief, first, second), _ = connect(3)
    waits, _ = at_once(lambda: chief.exchange("here"), lambda: first.fail("no archive"))
    assert str(waits) == "worker 1 failed: no archive"
    with pytest.raises(WorkerError, match="worker 1 failed: no archive"):
        second.exchange("here")


def test_a_failure_ends_a_process_that_the_backend_keeps_waiting(connect, ended):
    (chief, worker), _ = connect(2)
    with pytest.raises(RuntimeError):
        with chief.working():  # but never at an exchange
            worker.fail("no memory")
            while not ended:
                time.sleep(0.01)
            raise RuntimeError
    assert ended == ["worker 1 failed: no memory"]


@pytest.mark.parametrize("failure, line", [
    (KeyboardInterrupt(), "worker 1 failed: it was interrupted"),
    (SystemExit(3), "worker 1 failed: SystemExit"),
    (RuntimeError("in the backend\nStack trace:\n..."), "worker 1 failed: RuntimeError: in the backend"),
    (TrainingError("a\x1b[2Jb"), "worker 1 failed: a\\x1b[2Jb"),
])  # fmt: skip
def test_an_exception_reaches_the_others_as_one_line(connect, failure, line):
    (chief, worker, other), _ = connect(3)

    def work():
        with pytest.raises(type(failure)), worker.working():
            raise failure

    *others, _ = at_once(lambda: chief.exchange("here"), lambda: other.exchange("here"), work)
    assert [str(one) for one in others] == [line] * 2 and worker.failure == line.removeprefix("worker 1 failed: ")


def test_a_reason_that_begins_like_the_line_about_a_dead_worker_keeps_its_source(connect):
    (chief, worker), _ = connect(2)
    waits, _ = at_once(lambda: chief.exchange("here"), lambda: worker.fail("worker 1 of my own pool crashed"))
    assert str(waits) == "worker 1 failed: worker 1 of my own pool crashed"


def test_the_last_line_of_a_process_is_printable(monkeypatch, capsys):
    monkeypatch.setattr(module.os, "_exit", lambda status: None)
    module.end_process("worker 1 failed: a\x1b[2J\nb")
    assert capsys.readouterr().err == "worker 1 failed: a\\x1b[2J\\nb\n"


@pytest.mark.parametrize("count, gone", [(2, 1), (2, 0), (3, 2)])
def test_a_dead_worker_ends_the_others_with_a_line(connect, ended, count, gone):
    workers, pairs = connect(count)
    for one in workers:
        if one.index != gone:
            one._depth = 1
    (pairs[gone][1] if gone else pairs[1][0]).close()
    deadline = time.time() + 5
    while len(ended) < count - 1 and time.time() < deadline:
        time.sleep(0.01)
    assert set(ended) == {f"worker {gone} is gone; start all workers again to resume"} and len(ended) == count - 1


def test_a_silent_worker_counts_as_gone_after_the_timeout(connect, ended, monkeypatch):
    monkeypatch.setenv("CIFARZOO_WORKER_TIMEOUT", "1")
    monkeypatch.setattr(Channel, "_beat", lambda self: None)  # as if it were stopped
    (chief, _), _ = connect(2)
    chief._depth = 1
    deadline = time.time() + 5
    while not ended and time.time() < deadline:
        time.sleep(0.01)
    assert ended == ["worker 1 has been silent for 1 s; start all workers again to resume"]


def test_a_worker_that_has_left_is_not_waited_for(connect):
    (chief, worker), _ = connect(2)
    worker._leave()
    (failure,) = at_once(lambda: chief.exchange("the next run"))
    assert str(failure) == "worker 1 has ended; start all workers again to resume"


def test_the_cause_of_a_broken_reduction_is_the_failure_of_another(connect):
    (chief, worker), _ = connect(2)
    broken = RuntimeError("Gloo AllReduce failed")
    (cause, _) = at_once(lambda: chief.explain(broken), lambda: worker.fail("disk full"))
    assert str(cause) == "worker 1 failed: disk full"


@pytest.mark.parametrize("value", ["0", "-3", "soon", "inf", "nan", ""])
def test_timeout_is_a_number_of_seconds(monkeypatch, value):
    monkeypatch.setenv("CIFARZOO_WORKER_TIMEOUT", value)
    with pytest.raises(ExperimentError, match="CIFARZOO_WORKER_TIMEOUT: expected seconds"):
        module.timeout_seconds()


@pytest.fixture
def made(monkeypatch):
    """The arguments of the channels that `connect` makes, none of which starts, and what it registers for the exit."""
    arguments = []
    monkeypatch.setattr(connecting.atexit, "register", arguments.append)
    monkeypatch.setattr(connecting, "Channel", lambda *own: arguments.append(own))
    return arguments


def with_port(zeros, port):
    """What the chief's broadcast brings."""
    zeros[0] = port
    return zeros


@pytest.mark.parametrize("host, family", [
    ("127.0.0.1", socket.AF_INET), ("localhost", socket.AF_INET), ("[::1]", socket.AF_INET6)
])  # fmt: skip
def test_workers_find_the_chief(made, host, family):
    try:
        with socket.socket(family) as one:
            one.bind((host.strip("[]"), 0))
    except OSError:
        pytest.skip("this machine has no such address")
    addresses, sent = (f"{host}:1", f"{host}:2"), queue.Queue()
    assert at_once(
        lambda: connecting.connect(Cluster(addresses, 0), sent.put),
        lambda: connecting.connect(Cluster(addresses, 1), lambda zeros: sent.get(timeout=5)),
    ) == [None, None]
    (chief, worker) = (dict(zip(("index", "count", "connections"), one, strict=True)) for one in sorted(made))
    chief["connections"][1].send("hello")
    assert worker["connections"][0].recv() == "hello"
    chief["connections"][1].close()
    worker["connections"][0].close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_chief_out_of_reach_is_an_error_with_its_port(made, host):
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(
            TrainingError, match=r"^worker 0 cannot be reached at [0-9.:]+:\d+ \(.+\); let the"
        ) as error:
            connecting.connect(Cluster((f"{host}:1", f"{host}:2"), 1), lambda zeros: with_port(zeros, port))
    assert f":{port} (" in str(error.value) and made == [module.leave_without_backend]


def test_a_stranger_at_the_chiefs_port_is_an_error(made):
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def hang_up():
            stranger.accept()[0].close()

        cluster, port = Cluster(("127.0.0.1:1", "127.0.0.1:2"), 1), stranger.getsockname()[1]
        failure, _ = at_once(lambda: connecting.connect(cluster, lambda zeros: with_port(zeros, port)), hang_up)
    assert isinstance(failure, TrainingError) and "worker 0 cannot be reached at 127.0.0.1:" in str(failure)
