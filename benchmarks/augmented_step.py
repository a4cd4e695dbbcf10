"""Measure how much augmentation slows down a training step: ResNet-20 with each pipeline and without any.

    python benchmarks/augmented_step.py [--model cifar_resnet20] [--steps 10] [--rounds 5] [--precision float32]

All train in turns in one process, on the TensorFlow engine; the medians of the rounds count. "policies" is the list in
recipes/policies/autoaugment_cifar10.yaml. The goals are at most 10 % below the bare step for "standard" and at most
35 % below it for policies.

Expected before measuring, on two cores without bfloat16 arithmetic: 2 % for "standard" and 10 to 15 % for policies,
whose pipelines alone run at thousands of images per second while the step runs at hundreds.
"""

import argparse
import statistics
import time
from pathlib import Path

POLICIES = Path(__file__).parent.parent / "recipes" / "policies" / "autoaugment_cifar10.yaml"
BATCH = 128


def make_engines(options):
    """Return one compiled engine per pipeline."""
    import numpy as np

    from cifarzoo.augment.policy_lists import read_policies
    from cifarzoo.augment.spec import PIPELINES
    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training.job import prepare

    pipelines = {name: name for name in PIPELINES}
    pipelines["policies"] = [{"policies": {"policies": read_policies(POLICIES)}}, "crop", "flip", "cutout"]
    dataset, engines = load("synthetic"), {}
    for name, augmentation in pipelines.items():
        experiment = Experiment.model_validate(
            {
                "model": options.model,
                "dataset": "synthetic",
                "augmentation": augmentation,
                "precision": options.precision,
                "train_parameters": {"batch_size": BATCH, "steps_per_call": options.steps},
            }
        )
        engines[name] = prepare(experiment, dataset).create_engine(0)
        engines[name].train(0, np.zeros((1, BATCH), np.int32), np.full(1, 1e-3))
    return engines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="cifar_resnet20")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    import numpy as np

    engines = make_engines(options)
    indices = np.arange(options.steps * BATCH, dtype=np.int32).reshape(options.steps, BATCH) % 10_000
    seconds = {name: [] for name in engines}
    for number in range(options.rounds):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.train(1 + number * options.steps, indices, np.full(options.steps, 1e-3))
            seconds[name].append(time.perf_counter() - started)
    print(f"{options.model}, {options.precision}, batch {BATCH}, median of {options.rounds} rounds")
    print(f"{'augmentation':16} {'images/s':>8}  below the bare step")
    bare = statistics.median(seconds["none"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:16} {options.steps * BATCH / median:8,.0f}  {100 * (1 - bare / median):5.1f} %")


if __name__ == "__main__":
    main()
