"""Feed mutated and hostile input to every reader of files, and print a table of the outcomes.

    python benchmarks/robustness/mutate.py --inputs 6000 --seed 0
    python benchmarks/robustness/mutate.py --reader x.keras --input 17       # repeat one input, with details

The originals are files that the package wrote. Each reader runs in its own process with limits on time and memory, and
an audit hook records what it executes and what it writes outside the working directory. The exit status is 1 if
anything except an acceptance or a clear refusal happened. Linux only. Expected: 15 minutes on two cores.
"""

import argparse
import contextlib
import os
import pickle
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

import sandbox  # noqa: E402
from originals import HOSTILE_MODULE, make  # noqa: E402
from readers import READERS, Refused  # noqa: E402

MEMORY = 1 << 30
SECONDS = 5.0
KINDS = ("accepted", "refused", "unclear", "wrong", "traceback", "hang", "died")
BY_NAME = {reader.name: reader for reader in READERS}


def make_input(reader, seed, number, originals):
    """Return input `number` of a reader; it depends only on the seed."""
    draw = random.Random(f"{seed} {reader.name} {number}")
    while True:
        try:
            return reader.make(draw, originals)
        except Exception:
            continue  # the mutation does not apply here; draw another


def serve(originals, seed, memory):
    """Return the function that a worker runs."""

    def work(pipe):
        os.chdir(tempfile.mkdtemp(dir=originals.folder))
        Path("hostile_module.py").write_text(HOSTILE_MODULE, encoding="utf-8")
        for name in ("folder", "temporary"):
            Path(name).mkdir()
        tempfile.tempdir = os.path.abspath("temporary")
        os.mkfifo("fifo")
        copy_readable(originals)
        sys.path.append(os.getcwd())
        sys.path.append(str(originals.folder))
        silence()
        watch = sandbox.Watch(Path())
        from cifarzoo.errors import CifarzooError

        while True:
            name, number = pipe.recv()
            reader = BY_NAME[name]
            if reader.needs_keras:
                import keras  # noqa: F401  before measuring
            received = make_input(reader, seed, number, originals)
            pipe.send(None)
            verdict = sandbox.judge(
                lambda reader=reader, received=received: reader.read(received, originals),
                watch,
                memory,
                (CifarzooError, Refused),
            )
            pipe.send(verdict)

    return work


def copy_readable(originals):
    """Copy the files that the originals refer to into the working directory."""
    Path("recipes").mkdir()
    for source, target in (("resnet20_90ep.yaml", "recipes"), ("policies.yaml", ".")):
        shutil.copy(originals.folder / source, target)


def silence():
    """Discard the output of readers; only how they end counts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def count_inputs(readers, inputs):
    """Distribute a number of inputs over readers by their shares; every reader gets at least one."""
    total = sum(reader.share for reader in readers)
    return {reader.name: max(1, round(reader.share * inputs / total)) for reader in readers}


def print_table(counts, verdicts):
    """Print one row per reader and a total, as Markdown."""
    columns = ["reader", "inputs", *KINDS, "most MB", "most s", "written elsewhere", "executed"]
    print("| " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * (len(columns) - 1))
    rows = {name: verdicts[name] for name in counts} | {"all": [v for name in counts for v in verdicts[name]]}
    for name, those in rows.items():
        kinds = Counter(verdict.kind for verdict in those)
        most = [max((getattr(v, key) for v in those), default=0) for key in ("memory", "seconds")]
        happened = [sum(bool(getattr(v, key)) for v in those) for key in ("written", "executed")]
        cells = [len(those), *(kinds[kind] for kind in KINDS), f"{most[0] / sandbox.MEGABYTE:.0f}", f"{most[1]:.1f}"]
        print(f"| {name} | " + " | ".join(map(str, [*cells, *happened])) + " |")


def is_good(verdict):
    """Whether the input was accepted or refused without side effects."""
    return verdict.kind in ("accepted", "refused") and not verdict.written and not verdict.executed


def show(task, verdict):
    """Print a verdict that is not good."""
    message = re.sub(r"[^\x20-\x7e]", "?", verdict.message)[:300]
    what = [verdict.kind, message, *verdict.written[:2], *verdict.executed[:2]]
    print(f"{task[0]} {task[1]}: {'; '.join(filter(None, what))}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=6000, help="number of inputs, over all readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", choices=BY_NAME, help="only this reader; repeatable")
    parser.add_argument("--without-keras", action="store_true", help="only readers that need no Keras")
    parser.add_argument("--input", type=int, help="only this input of the reader; writes it to fallen_input")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--memory", type=int, default=MEMORY, help="bytes that a reader may take")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, print the results so far
    readers = [BY_NAME[name] for name in options.reader or BY_NAME]
    if options.without_keras:
        readers = [reader for reader in readers if not reader.needs_keras]
    counts = count_inputs(readers, options.inputs)
    if options.input is not None and len(readers) != 1:
        parser.error("--input: name its --reader")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        originals = make(Path(folder), with_run=any(reader.needs_run for reader in readers))
        if options.input is None:
            tasks = [(name, number) for name, count in counts.items() for number in range(count)]
        else:
            tasks = [(readers[0].name, options.input)]
            here = os.getcwd()
            os.chdir(folder)
            received = make_input(readers[0], options.seed, options.input, originals)
            os.chdir(here)
            Path("fallen_input").write_bytes(received if isinstance(received, bytes) else pickle.dumps(received))
        verdicts = {name: [] for name in counts}
        work = serve(originals, options.seed, options.memory)
        with contextlib.suppress(KeyboardInterrupt):
            for task, verdict in sandbox.run_all(tasks, work, options.jobs, SECONDS):
                verdicts[task[0]].append(verdict)
                if not is_good(verdict):
                    show(task, verdict)
    print_table(counts, verdicts)
    print(f"\nseed {options.seed}, {(time.monotonic() - started) / 60:.1f} min, Python {sys.version.split()[0]}")
    sys.exit(not all(is_good(verdict) for those in verdicts.values() for verdict in those))


if __name__ == "__main__":
    main()
