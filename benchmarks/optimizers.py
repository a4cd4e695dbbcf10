"""Compare how many steps per second ResNet-20 trains with SGD, AdamW and Muon, on both engines, in one run.

    python benchmarks/optimizers.py [--engines tensorflow jax] [--optimizers SGD AdamW Muon] [--steps 10] [--rounds 3]
        [--precision float32] [--batch 128]

For each engine one process builds all of them and times them in turns, so that they see the same machine; medians
count. The last column is the processor time of a step over that with SGD, which other processes on the machine hardly
change.

Expected before measuring, at batch 128: on two cores at least 0.95 of SGD's speed with AdamW. An update of 0.27 million
weights is 4 million operations against 32,000 million of the step; what it costs is the dispatch of about 15 operations
for each of 65 variables, 1,000 of some 5 us, on TensorFlow, and nothing on JAX, which fuses them. Muon 0.85 to 0.9: its
iterations multiply matrices for 300 million operations.

Measured on two cores of an EPYC that were busy with other work, so that only processor times count: with AdamW 0.98 of
SGD's on TensorFlow and 0.99 on JAX, with Muon 1.02 and 1.01; differences of 0.02 are noise.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

OPTIMIZERS = {
    "SGD": {"nesterov": True, "weight_decay": 5e-4},
    "AdamW": {"optimizer": {"name": "AdamW", "weight_decay": 0.1}},
    "Muon": {"optimizer": {"name": "Muon", "weight_decay": 0.1, "rest": {"name": "AdamW", "weight_decay": 0.1}}},
    "Muon with SGD": {"optimizer": {"name": "Muon", "weight_decay": 0.1, "rest": {"name": "SGD"}}},
    "Adam": {"optimizer": "Adam"},
    "Lion": {"optimizer": "Lion"},
    "RMSprop": {"optimizer": "RMSprop"},
}


def measure(names, steps, rounds, precision, batch):
    """Return for each optimizer the seconds and the processor seconds per step of each round, on Keras' backend."""
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training.job import prepare

    engines, times = {}, {name: [] for name in names}
    indices = np.arange(steps * batch, dtype=np.int32).reshape(steps, batch) % 10_000
    rates = np.full(steps, 1e-3)
    schedule = {"kind": "constant", "learning_rate": 1e-3, "duration": 1000}
    for name in names:
        parameters = {"schedule": schedule, "steps_per_call": steps, "batch_size": batch} | OPTIMIZERS[name]
        document = {
            "model": "cifar_resnet20",
            "model_parameters": {"block_type": "original", "shortcut_type": "A"},
            "dataset": "synthetic",
            "precision": precision,
            "train_parameters": parameters,
        }
        engines[name] = prepare(Experiment.model_validate(document), load("synthetic")).create_engine(0)
        engines[name].train(0, indices, rates)
    for number in range(1, rounds + 1):
        for name, engine in engines.items():
            started = time.perf_counter(), time.process_time()
            engine.train(number * steps, indices, rates)
            ended = time.perf_counter(), time.process_time()
            times[name].append([(after - before) / steps for before, after in zip(started, ended, strict=True)])
    return times


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engines", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=["SGD", "AdamW", "Muon"])
    parser.add_argument("--steps", type=int, default=10, help="per round and optimizer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        arguments = options.optimizers, options.steps, options.rounds, options.precision, options.batch
        print(json.dumps(measure(*arguments)))
        return
    print(f"{'engine':12} {'optimizer':14} {'steps/s':>8} {'of SGD':>7} {'processor time':>15}")
    for engine in options.engines:
        command = [sys.executable, __file__, *sys.argv[1:], "--one"]
        environment = os.environ | {"KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
        times = json.loads(done.stdout.strip().splitlines()[-1])
        first = times[options.optimizers[0]]
        for name, rounds in times.items():
            pairs = list(zip(rounds, first, strict=True))
            speed, used = (statistics.median(base[n] / own[n] for own, base in pairs) for n in (0, 1))
            steps = 1 / statistics.median(seconds for seconds, _ in rounds)
            print(f"{engine:12} {name:14} {steps:8.2f} {speed:7.2f} {1 / used:15.2f}", flush=True)


if __name__ == "__main__":
    main()
