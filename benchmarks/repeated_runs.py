"""Measure a recipe's training time without compilation and its error: mean and standard deviation over runs.

    [KERAS_BACKEND=jax] python benchmarks/repeated_runs.py [RECIPE] [--runs 20] [--set KEY=VALUE ...]

Every run has its own seed and trains on the real images (CIFARZOO_DATA, or downloaded). Before the clock starts, a run
takes one step per image size, so that everything is compiled, and then returns to its initial state. The clock covers
only training, from the first step's images to the last step's weights. The errors are those of the last weights
(averaged, if the recipe averages) on all test images, alone and with mirror images. The default recipe is ResNet-9's.

Expected before measuring: 94 % in less than 6 seconds on an H200-class GPU.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def one_run(experiment, dataset, seed):
    """Return seconds of training, error in percent, and error with mirror images."""
    from cifarzoo.evaluation.evaluate import evaluate
    from cifarzoo.evaluation.load_model import LoadedModel
    from cifarzoo.experiment.plan import stream_indices
    from cifarzoo.training.job import prepare

    job = prepare(experiment, dataset)
    plan, engine = job.plan, job.create_engine(seed)

    def call(first, last):
        start, count = first * plan.batch_size, (last - first) * plan.batch_size
        indices = stream_indices(seed, plan.images, start, count).reshape(-1, plan.batch_size)
        engine.train(first, indices, plan.rates(first, last))

    calls = [0]
    while calls[-1] < plan.total:
        calls.append(plan.next_end(calls[-1]))
    fresh, seen = engine.state(), set()
    for first in calls[:-1]:
        if (size := plan.image_size(first)) not in seen:
            seen.add(size)
            call(first, first + 1)
    engine.restore(fresh)

    started = time.perf_counter()
    for first, last in itertools.pairwise(calls):
        call(first, last)
    seconds = time.perf_counter() - started
    with engine.averaged_weights() as model:
        loaded = LoadedModel(model, experiment.dataset, "the last step")
        errors = [evaluate(loaded, dataset, flip=flip)[0]["error"] for flip in (False, True)]
    return seconds, *errors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", type=Path, default=ROOT / "recipes" / "resnet9_bag_of_tricks.yaml")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        # Every run traces its own program, but XLA compiles it only once.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
        os.environ.setdefault("JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS", "0")

        from cifarzoo.data import load
        from cifarzoo.experiment.files import read_experiments
        from cifarzoo.training.runner import set_backend

        (experiment,) = read_experiments(options.recipe, options.set)
        set_backend([experiment])
        seeds = list(range(options.runs))
        dataset, runs = load(experiment.dataset), []
        print(f"{'seed':>4} {'seconds':>9} {'error %':>8} {'with mirror images':>19}")
        for seed in seeds:
            runs.append(one_run(experiment, dataset, seed))
            print(f"{seed:4} {runs[-1][0]:9.2f} {runs[-1][1]:8.2f} {runs[-1][2]:19.2f}", flush=True)
        for name, summary in (("mean", statistics.mean), ("std", statistics.stdev)):
            if name == "mean" or len(runs) > 1:
                print("{:>4} {:9.2f} {:8.2f} {:19.2f}".format(name, *map(summary, zip(*runs, strict=True))))


if __name__ == "__main__":
    main()
