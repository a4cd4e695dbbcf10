"""Kill training and publishing at random moments, start the same command again, and compare with undisturbed runs.

    python benchmarks/robustness/kill.py --kills 100 --seed 0
    python benchmarks/robustness/kill.py --kills 5 --case jax

A process is killed by SIGKILL before a file operation or at a random time, or in the middle of a write (see
`processes.Death`). A run is killed several times and then left alone until it ends. It must equal an undisturbed run:
final.weights.h5 and log.tsv without the speed column byte for byte, checkpoint.npz in its arrays, results.json in
metrics and steps, and without temporary files left. A publication is killed once; the same command must then complete
it, and the folder must equal that of an undisturbed publication. The exit status is 1 if anything differs. Linux only.
Expected: 15 minutes on two cores.
"""

import argparse
import contextlib
import csv
import hashlib
import importlib.util
import json
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from processes import Command, Death, Server, count_path  # noqa: E402

LIMIT = 300.0
EXPERIMENT = """\
{before}module: tiny_network
model: {model}
dataset: {dataset}
seeds: {seeds}
seeds_at_once: {at_once}
distribution: {distribution}
skip_error_test: true
{settings}train_parameters:
  run_name: killed
  batch_size: 32
  ema_decay: 0.9
  schedule: {{kind: cosine, peak: 0.05, warmup: {{steps: 5}}, duration: {{steps: 60}}}}
  log_interval: 5
  val_interval: 20
  checkpoint_interval: 10
  steps_per_call: 5
{parameters}"""
TEACHER = """\
module: tiny_network
model: linear
dataset: synthetic
distribution: none
skip_error_test: true
train_parameters: {run_name: teacher, schedule: {kind: constant, learning_rate: 0.05, duration: 10}}
---
"""
PUBLISHED = """\
model: cifar_resnet20
dataset: synthetic
skip_error_test: true
train_parameters: {run_name: small, batch_size: 16, log_interval: 1, schedule: {kind: cosine, peak: 0.05, duration: 2}}
"""
README = "<!-- weights:begin -->\n<!-- weights:end -->\n"


@dataclass(frozen=True)
class Case:
    """A kind of run to kill.

    Attributes:
        backend: The Keras backend.
        share: How many of the kills it gets, relative to the other cases.
        model: A function in tiny_network.py.
        seeds, at_once: As in an experiment.
        workers: Number of processes.
        before: Documents in front of the experiment's; they are killed, too.
        settings: Further lines of its document.
        parameters: Further lines of its `train_parameters`.
        dataset: As in an experiment; `OWN` gets a folder of pictures, whose cache may be killed, too.
    """

    backend: str
    share: int
    model: str = "all_random"
    seeds: tuple[int, ...] = (0,)
    at_once: int = 1
    workers: int = 1
    before: str = ""
    settings: str = ""
    parameters: str = ""
    dataset: str = "synthetic"


OWN = "{folder: photos, size: 24}"
LABELS = """\
labels: {symmetric: 0.4}
drop: [3, 5, 9999]
augmentation: [crop, {module: tiny_network, name: brighten, by: 20}, {keras: RandomContrast, factor: 0.4}]
"""
VIEWS = 'teacher: {model: "{logdir}/teacher/seed0", views: 3}\n'
SPLITS = "train_split: train45k\nval_split: validation\ncallbacks: [TerminateOnNaN]\n"
ADAMW = "  optimizer: {name: AdamW, weight_decay: 0.05}\n"
MUON = "  optimizer: {name: Muon, rest: {name: AdamW}}\n"
PRUNING = "  pruning: {sparsity: 0.8, start: 2, end: 25, interval: 3}\n"
ALONG_THE_WAY = """\
  ema_warmup: true
  keep: {every: 7, at: [0, 20]}
  early_stopping: {monitor: val_loss, patience: 20, min_delta: 0.5}
  best_weights: val_error
"""

CASES = {
    "tensorflow": Case("tensorflow", 44),
    "jax": Case("jax", 18),
    "jax, two seeds at once": Case("jax", 14, "linear", (0, 1), 2),
    "tensorflow, two workers": Case("tensorflow", 6, workers=2),
    "tensorflow, AdamW": Case("tensorflow", 6, parameters=ADAMW),
    "jax, AdamW": Case("jax", 6, parameters=ADAMW),
    "tensorflow, Muon": Case("tensorflow", 6, parameters=MUON),
    "jax, Muon": Case("jax", 6, parameters=MUON),
    "tensorflow, pruning": Case("tensorflow", 6, parameters=PRUNING),
    "jax, pruning": Case("jax", 6, "linear", (0, 1), 2, parameters=PRUNING),
    "tensorflow, noise and own augmentation": Case("tensorflow", 6, settings=LABELS),
    "jax, noise and own augmentation": Case("jax", 6, "linear", (0, 1), 2, settings=LABELS),
    "tensorflow, views of a teacher": Case("tensorflow", 6, before=TEACHER, settings=VIEWS),
    "jax, two seeds and a teacher": Case("jax", 6, "linear", (0, 1), 2, before=TEACHER, settings=VIEWS),
    "tensorflow, own pictures": Case("tensorflow", 6, "linear", dataset=OWN),
    "jax, own pictures": Case("jax", 6, "linear", dataset=OWN),
    "tensorflow, kept and best weights": Case("tensorflow", 6, "linear", settings=SPLITS, parameters=ALONG_THE_WAY),
    "jax, kept and best weights": Case("jax", 6, "linear", settings=SPLITS, parameters=ALONG_THE_WAY),
}
PUBLICATION, PUBLICATION_SHARE = "publication", 18


@dataclass
class Tally:
    """The results of one case.

    Attributes:
        kills: Number of kills by kind of moment.
        ends: Number of runs that were left alone until they ended.
        faults: Differences and failures, one line each.
    """

    kills: Counter = field(default_factory=Counter)
    ends: int = 0
    faults: list[str] = field(default_factory=list)


# ----------------------------------------------------------------------------------------------------- training


def train(server, folder, workers=1, deaths=()):
    """Run the command, with one process per worker; return the exit statuses, None for a process that hung."""
    addresses = []
    with contextlib.ExitStack() as stack:
        for _ in range(workers):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            addresses.append(f"127.0.0.1:{free.getsockname()[1]}")
    commands = []
    for index in range(workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {"TF_CONFIG": json.dumps(task)} if workers > 1 else {}
        environment["CIFARZOO_CACHE"] = str(folder / "cache")
        death = deaths[index] if index < len(deaths) else None
        commands.append(Command(server, ["train", "experiment.yaml"], folder, death, environment))
    deadline = time.monotonic() + LIMIT
    while any(command.status() is None for command in commands):
        killed = [command for command in commands if command.status() in DEATHS]
        if killed or time.monotonic() > deadline:  # a scheduler would restart all workers
            time.sleep(random.random() if killed else 0)
            for command in commands:
                command.kill()
        time.sleep(0.02)
    return [command.status() for command in commands]


DEATHS = (-signal.SIGKILL, -signal.SIGXFSZ)


def write_experiment(folder, case):
    """Write the experiment and its network into a new folder."""
    folder.mkdir()
    distribution = "multi_worker" if case.workers > 1 else "none"
    text = EXPERIMENT.format(
        before=case.before,
        model=case.model,
        dataset=case.dataset,
        seeds=list(case.seeds),
        at_once=case.at_once,
        distribution=distribution,
        settings=case.settings,
        parameters=case.parameters,
    )
    if case.dataset == OWN:
        write_pictures(folder / "photos")
    (folder / "experiment.yaml").write_text(text, encoding="utf-8")
    shutil.copy(HERE / "tiny_network.py", folder)


def write_pictures(folder):
    """Write pictures of two classes; their times are equal in every run."""
    from PIL import Image

    draw = random.Random(0)
    for number in range(120):
        path = folder / ("dark", "light")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (30, 26), bytes(draw.randrange(128) + 127 * (number % 2) for _ in range(2340))).save(
            path
        )


def describe(folder):
    """Return the contents to compare, by file."""
    import numpy as np

    contents = {}
    for seed in sorted((folder / "runs" / "killed").glob("seed*")):
        for path in sorted([*seed.iterdir(), *seed.glob("kept/*")]):
            name = path.relative_to(seed.parent).as_posix()
            if path.name.endswith(".weights.h5") and ".part" not in path.name:
                contents[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            elif path.name == "log.tsv":
                with path.open(newline="", encoding="utf-8") as file:
                    rows = [{**row, "images_per_second": ""} for row in csv.DictReader(file, delimiter="\t")]
                contents[name] = json.dumps(rows)
            elif path.name == "checkpoint.npz":
                with np.load(path) as archive:
                    arrays = {key: archive[key].tobytes() for key in archive.files if key != "__meta__"}
                contents[name] = hashlib.sha256(repr(sorted(arrays.items())).encode()).hexdigest()
            elif path.name == "results.json":
                results = json.loads(path.read_text(encoding="utf-8"))
                keys = ("steps", "images", "test", "validation", "weights", "parameters", "fingerprint")
                contents[name] = json.dumps({key: results.get(key) for key in keys})
            elif ".part" in path.name:
                contents[name] = "a temporary file"
    return contents


def attack_training(server, case, kills, folder, draw, tally):
    """Kill runs of a case until `kills` processes have died, compare every run that ends, and count in `tally`."""
    reference = folder / "undisturbed"
    write_experiment(reference, case)
    began = time.monotonic()
    statuses = train(server, reference, case.workers)
    seconds = time.monotonic() - began
    if any(statuses):
        tally.faults.append(f"the undisturbed run ended with {statuses}: {last_line(reference)}")
        return
    operations = int(count_path(reference).read_text(encoding="utf-8"))
    largest = max(path.stat().st_size for path in reference.rglob("*.npz"))
    expected = describe(reference)
    while sum(tally.kills.values()) < kills:
        run = folder / f"run{tally.ends}"
        write_experiment(run, case)
        for _ in range(min(draw.randint(2, 8), kills - sum(tally.kills.values()))):
            kind = draw.choice(("operation", "write", "any time"))
            death = {
                "operation": Death(operation=draw.randint(1, operations)),
                "write": Death(byte=draw.randint(1, largest)),
                "any time": Death(seconds=draw.uniform(0, seconds)),
            }[kind]
            victim = draw.randrange(case.workers)
            statuses = train(server, run, case.workers, [None] * victim + [death])
            if any(status in DEATHS for status in statuses):
                tally.kills[kind] += 1
            elif any(statuses):
                tally.faults.append(f"ended with {statuses}: {last_line(run)}")
        statuses = train(server, run, case.workers)
        tally.ends += 1
        if any(statuses):
            tally.faults.append(f"run{tally.ends}: ended with {statuses}: {last_line(run)}")
        else:
            tally.faults += differences(f"run{tally.ends}", describe(run), expected)
        shutil.rmtree(run)


def differences(name, contents, expected):
    """Return a list with one line if two descriptions differ, else an empty list."""
    different = sorted(key for key in contents | expected if contents.get(key) != expected.get(key))
    return [f"{name}: differs in {', '.join(different)}"] if different else []


def last_line(folder):
    """Return the last line that the command printed."""
    lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1][:300] if lines else "no output"


# ----------------------------------------------------------------------------------------------------- publishing


def attack_publication(server, kills, folder, tally):
    """Kill publications before each file operation in turn, complete them, and count in `tally`."""
    (folder / "experiment.yaml").write_text(PUBLISHED, encoding="utf-8")
    status = Command(server, ["train", "experiment.yaml"], folder).wait(LIMIT)
    if status:
        tally.faults.append(f"the run ended with {status}: {last_line(folder)}")
        return
    words = ["publish", str(folder / "runs" / "small" / "seed0"), "tag", "--weights", "weights", "--recipe", "small"]

    def publish(name, death=None):
        target = folder / name
        if not target.exists():
            (target / "weights").mkdir(parents=True)
            (target / "weights" / "manifest.json").write_text("[]\n", encoding="utf-8")
            shutil.copy(HERE.parent.parent / "weights" / "anchors.yaml", target / "weights")
            (target / "README.md").write_text(README, encoding="utf-8")
        return Command(server, words, target, death).wait(LIMIT), target

    def contents(target):
        ignored = (".lock", ".lock.pid", "output.txt", count_path(target).name)
        files = [path for path in target.rglob("*") if path.is_file() and path.name not in ignored]
        return {str(path.relative_to(target)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    status, reference = publish("undisturbed")
    if status:
        tally.faults.append(f"the undisturbed publication ended with {status}: {last_line(reference)}")
        return
    operations = int(count_path(reference).read_text(encoding="utf-8"))
    expected = contents(reference)
    for number in range(kills):
        operation = 1 + number * operations // kills if kills < operations else 1 + number % operations
        name = f"publication{number}"
        status, target = publish(name, Death(operation=operation))
        if status not in DEATHS:
            tally.faults.append(f"{name}: ended with {status} before operation {operation}")
            continue
        tally.kills["operation"] += 1
        status, target = publish(name)
        tally.ends += 1
        if status:
            tally.faults.append(f"{name}, killed before operation {operation}: {last_line(target)}")
        else:
            tally.faults += differences(f"{name}, killed before operation {operation}", contents(target), expected)
        shutil.rmtree(target)


# ----------------------------------------------------------------------------------------------------- the table


def print_table(tallies):
    """Print one row per case and a total, as Markdown."""
    kinds = ("operation", "write", "any time")
    print("| case | kills | before a file operation | in a write | any time | ends | faults |")
    print("| --- |" + " ---: |" * 6)
    rows = dict(tallies)
    rows["all"] = Tally(
        sum((tally.kills for tally in tallies.values()), Counter()),
        sum(tally.ends for tally in tallies.values()),
        [fault for tally in tallies.values() for fault in tally.faults],
    )
    for name, tally in rows.items():
        cells = [sum(tally.kills.values()), *(tally.kills[kind] for kind in kinds), tally.ends, len(tally.faults)]
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="number of kills, over all cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", action="append", choices=[*CASES, PUBLICATION], help="only this case; repeatable")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, print the results so far
    names = options.case or [*CASES, PUBLICATION]
    if importlib.util.find_spec("jax") is None:
        names = [name for name in names if not name.startswith("jax")]
        print("without JAX, which is not installed", file=sys.stderr)
    shares = {name: CASES[name].share if name in CASES else PUBLICATION_SHARE for name in names}
    tallies, began = {}, time.monotonic()
    servers = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        for name in names:
            kills = max(1, round(options.kills * shares[name] / sum(shares.values())))
            backend = CASES[name].backend if name in CASES else "tensorflow"
            servers[backend] = servers.get(backend) or Server(backend)
            target = Path(folder) / name.replace(" ", "_").replace(",", "")
            target.mkdir()
            tally = tallies[name] = Tally()
            if name in CASES:
                draw = random.Random(f"{options.seed} {name}")
                attack_training(servers[backend], CASES[name], kills, target, draw, tally)
            else:
                attack_publication(servers[backend], kills, target, tally)
            for fault in tally.faults:
                print(f"{name}: {fault}", file=sys.stderr, flush=True)
        for server in servers.values():
            server.close()
    print_table(tallies)
    print(f"\nseed {options.seed}, {(time.monotonic() - began) / 60:.1f} min, Python {sys.version.split()[0]}")
    sys.exit(any(tally.faults for tally in tallies.values()))


if __name__ == "__main__":
    main()
