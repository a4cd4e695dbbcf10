"""Measure the time to 94 % on CIFAR-10 on this machine: recipes/airbench94.yaml, then airbench94 in PyTorch.

    python benchmarks/airbench.py [--steps 20] [--precision float32] [--seed 0] [--set KEY=VALUE ...]

Trains both completely on the real images (CIFARZOO_DATA, or downloaded), each in its own process, and prints seconds of
training, images per second, and the error on all test images: on the images alone, with mirror images, and for PyTorch
also with shifts, which is how its authors report. With --steps, both train only that many steps, in turns, and only the
speed is printed. The seconds include compilation.

Expected before measuring: the same speed within a tenth, because both call oneDNN for convolutions, which are most of
the work, and the same error within the spread of seeds.
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
    """Train and evaluate the recipe with the trainer."""
    from cifarzoo.data import load
    from cifarzoo.evaluation.evaluate import evaluate
    from cifarzoo.evaluation.load_model import load_run
    from cifarzoo.experiment.files import read_experiments
    from cifarzoo.training.job import prepare
    from cifarzoo.training.trainer import run

    with tempfile.TemporaryDirectory() as folder:
        changes = [f"train_parameters.logdir={folder}", f"precision={options.precision}", *options.set]
        if options.steps:
            changes.insert(0, "train_parameters.progressive_resizing=[]")
        (experiment,) = read_experiments(RECIPE, changes)
        dataset = load("cifar10")
        if options.steps:
            return speed_of_ours(experiment, dataset, options)
        job = prepare(experiment, dataset)
        seconds = run(job, options.seed).seconds  # of training alone
        images = job.plan.total * experiment.train_parameters.batch_size
        loaded = load_run(job.folder(options.seed))
        errors = [evaluate(loaded, dataset, flip=flip)[0]["error"] for flip in (False, True)]
    return {"seconds": seconds, "images_per_second": images / seconds, "errors": errors}


def speed_of_ours(experiment, dataset, options):
    """Time steps of the engine after one warm-up step, on full-size images like PyTorch's unless `--set` differs."""
    import numpy as np

    from cifarzoo.training.job import prepare

    engine = prepare(experiment, dataset).create_engine(options.seed)
    size = experiment.train_parameters.batch_size
    indices = np.arange(options.steps * size, dtype=np.int32).reshape(-1, size) % len(dataset.train)
    engine.train(0, indices[:1], np.full(1, 1e-3))
    started = time.perf_counter()
    for step in range(0, options.steps, experiment.train_parameters.steps_per_call):
        part = indices[step : step + experiment.train_parameters.steps_per_call]
        engine.train(1 + step, part, np.full(len(part), 1e-3))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "images_per_second": options.steps * size / seconds, "errors": []}


def pytorch(options):
    """Train and evaluate the same network with the authors' recipe in PyTorch."""
    import torch_airbench

    from cifarzoo.data import load

    dataset = load("cifar10")
    arrays = dataset.train.images, dataset.train.labels
    arguments = {"seed": options.seed, "bfloat16": options.precision == "bfloat16"}
    if options.steps:
        warm = torch_airbench.train(*arrays, **arguments, most_steps=2)[2]
        seconds = torch_airbench.train(*arrays, **arguments, most_steps=2 + options.steps)[2] - warm
        return {"seconds": seconds, "images_per_second": options.steps * 1024 / seconds, "errors": []}
    model, normalization, seconds, images = torch_airbench.train(*arrays, **arguments)
    errors = torch_airbench.errors(model, normalization, dataset.test.images, dataset.test.labels)
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
    results = {name: [] for name in ([options.only] if options.only else CONTESTANTS)}
    for _ in range(options.rounds if options.steps else 1):
        for name in results:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
            process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[name].append(json.loads(process.stdout.strip().splitlines()[-1]))
    print(f"{'':10} {'seconds':>8} {'images/s':>9}   error: images alone, with mirror images, with shifts (%)")
    for name, rounds in results.items():
        rate = statistics.median(result["images_per_second"] for result in rounds)
        errors = "   ".join(f"{error:.2f}" for error in rounds[0]["errors"])
        print(f"{name:10} {rounds[0]['seconds']:8,.0f} {rate:9,.0f}   {errors}")


if __name__ == "__main__":
    main()
