"""Time to 94 % on CIFAR-10 on this machine: recipes/airbench94.yaml and airbench94 in PyTorch, one after the other.

    python benchmarks/airbench.py [--steps 20] [--precision float32] [--seed 0] [--set KEY=VALUE ...]

Trains both whole on the real images (CIFARZOO_DATA, or downloaded), each in a process of its own, and prints seconds of
training, images a second, and the error on all test images: of the images alone, with mirror images, and for PyTorch
with shifts too, which is how its authors report. With --steps both end after so many, in turns, and only speed is
printed. Compilation is part of the seconds.

Expected before measuring: the same speed within a tenth, as both call oneDNN for convolutions, which are most of the
work, and the same error within what seeds differ by.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "airbench94.yaml"


def ours(options):
    """The recipe through the runner's own parts."""
    from cifarzoo.data import load
    from cifarzoo.evaluation.evaluate import evaluate
    from cifarzoo.evaluation.load_model import load_run
    from cifarzoo.experiment.files import read_experiments
    from cifarzoo.experiment.plan import Plan
    from cifarzoo.runs.folder import RunFolder
    from cifarzoo.training.trainer import run

    with tempfile.TemporaryDirectory() as folder:
        changes = [f"train_parameters.logdir={folder}", f"precision={options.precision}", *options.set]
        if options.steps:
            changes.insert(0, "train_parameters.progressive_resizing=[]")
        (experiment,) = read_experiments(RECIPE, changes)
        dataset = load("cifar10")
        if options.steps:
            return speed_of_ours(experiment, dataset, options)
        seconds = run(experiment, options.seed, dataset)["seconds"]  # of training alone
        images = Plan(experiment, len(dataset.train)).total * experiment.train_parameters.batch_size
        loaded = load_run(RunFolder.of(experiment, options.seed))
        errors = [evaluate(loaded, dataset, flip=flip)[0]["error"] for flip in (False, True)]
    return {"seconds": seconds, "images_per_second": images / seconds, "errors": errors}


def speed_of_ours(experiment, dataset, options):
    """Steps of the engine after a warm-up of one, on whole images, as PyTorch has them, unless `--set` has others."""
    import numpy as np

    from cifarzoo.training.engines import create_engine

    engine = create_engine(experiment, dataset, options.seed)
    size = experiment.train_parameters.batch_size
    places = np.arange(options.steps * size, dtype=np.int32).reshape(-1, size) % len(dataset.train)
    engine.train(0, places[:1], np.full(1, 1e-3))
    started = time.perf_counter()
    for step in range(0, options.steps, experiment.train_parameters.steps_per_call):
        part = places[step : step + experiment.train_parameters.steps_per_call]
        engine.train(1 + step, part, np.full(len(part), 1e-3))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "images_per_second": options.steps * size / seconds, "errors": []}


def pytorch(options):
    """The same network and the authors' recipe in PyTorch."""
    import torch_airbench

    from cifarzoo.data import load

    dataset = load("cifar10")
    arrays = dataset.train.images, dataset.train.labels
    arguments = {"seed": options.seed, "bfloat16": options.precision == "bfloat16"}
    if options.steps:
        warm = torch_airbench.train(*arrays, **arguments, most_steps=2)[2]
        seconds = torch_airbench.train(*arrays, **arguments, most_steps=2 + options.steps)[2] - warm
        return {"seconds": seconds, "images_per_second": options.steps * 1024 / seconds, "errors": []}
    model, normalisation, seconds, images = torch_airbench.train(*arrays, **arguments)
    errors = torch_airbench.errors(model, normalisation, dataset.test.images, dataset.test.labels)
    return {"seconds": seconds, "images_per_second": images / seconds, "errors": errors}


CONTESTANTS = {"cifarzoo": ours, "pytorch": pytorch}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--only", choices=CONTESTANTS)
    parser.add_argument("--one", choices=CONTESTANTS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(CONTESTANTS[options.one](options)))
        return
    found = {name: [] for name in [options.only] if options.only} or {name: [] for name in CONTESTANTS}
    for _ in range(options.rounds if options.steps else 1):
        for name in found:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
            result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(result.stdout.strip().splitlines()[-1]))
    print(f"{'':10} {'seconds':>8} {'images/s':>9}   error: images alone, with mirror images, with shifts (%)")
    for name, results in found.items():
        rate = statistics.median(result["images_per_second"] for result in results)
        errors = "   ".join(f"{error:.2f}" for error in results[0]["errors"])
        print(f"{name:10} {results[0]['seconds']:8,.0f} {rate:9,.0f}   {errors}")


if __name__ == "__main__":
    main()
