"""Compare how many steps per second ResNet-20 trains when one factor changes: optimizer or normalization.

    python benchmarks/factors.py [--engines tensorflow jax] [--factors SGD AdamW Muon GroupNormalization]
        [--steps 10] [--rounds 3] [--precision float32] [--batch 128]

For each engine one process builds all of them and times them in turns, so that they see the same machine; medians
count. "of SGD" is the speed over that of the first factor, and "processor time" that of a step over that of the first
factor, which other processes on the machine hardly change.

Expected before measuring, at batch 128: on two cores at least 0.95 of SGD's speed with AdamW. An update of 0.27 million
weights is 4 million operations against 32,000 million of the step; what it costs is the dispatch of about 15 operations
for each of 65 variables, 1,000 of some 5 us, on TensorFlow, and nothing on JAX, which fuses them. Muon 0.85 to 0.9: its
iterations multiply matrices for 300 million operations. GroupNormalization 0.8: it takes two reductions and a
multiplication, where BatchNormalization is one fused operation of TensorFlow.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

# What each factor changes in the experiment's document.
FACTORS = {
    "SGD": {},
    "AdamW": {"train_parameters": {"optimizer": {"name": "AdamW", "weight_decay": 0.1}}},
    "Muon": {
        "train_parameters": {
            "optimizer": {"name": "Muon", "weight_decay": 0.1, "rest": {"name": "AdamW", "weight_decay": 0.1}}
        }
    },
    "Muon with SGD": {
        "train_parameters": {"optimizer": {"name": "Muon", "weight_decay": 0.1, "rest": {"name": "SGD"}}}
    },
    "Adam": {"train_parameters": {"optimizer": "Adam"}},
    "Lion": {"train_parameters": {"optimizer": "Lion"}},
    "RMSprop": {"train_parameters": {"optimizer": "RMSprop"}},
    "GroupNormalization": {"model_parameters": {"normalization": "group"}},
    "no normalization": {"model_parameters": {"normalization": "none"}},
}

DEFAULT = ("SGD", "AdamW", "Muon", "GroupNormalization")


def measure(names, steps, rounds, precision, batch):
    """Return for each factor the seconds and the processor seconds per step of each round, on Keras' backend."""
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training.job import prepare

    engines, times = {}, {name: [] for name in names}
    indices = np.arange(steps * batch, dtype=np.int32).reshape(steps, batch) % 10_000
    rates = np.full(steps, 1e-3)
    schedule = {"kind": "constant", "learning_rate": 1e-3, "duration": 1000}
    for name in names:
        parameters = {"schedule": schedule, "steps_per_call": steps, "batch_size": batch}
        factor = FACTORS[name]
        if "train_parameters" not in factor:
            parameters |= {"nesterov": True, "weight_decay": 5e-4}
        document = {
            "model": "cifar_resnet20",
            "model_parameters": {"block_type": "original", "shortcut_type": "A"} | factor.get("model_parameters", {}),
            "dataset": "synthetic",
            "precision": precision,
            "train_parameters": parameters | factor.get("train_parameters", {}),
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
    parser.add_argument("--factors", nargs="+", choices=FACTORS, default=list(DEFAULT))
    parser.add_argument("--steps", type=int, default=10, help="per round and factor")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        arguments = options.factors, options.steps, options.rounds, options.precision, options.batch
        print(json.dumps(measure(*arguments)))
        return
    print(f"{'engine':12} {'factor':18} {'steps/s':>8} {'of SGD':>7} {'processor time':>15}")
    for engine in options.engines:
        command = [sys.executable, __file__, *sys.argv[1:], "--one"]
        environment = os.environ | {"KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
        times = json.loads(done.stdout.strip().splitlines()[-1])
        first = times[options.factors[0]]
        for name, rounds in times.items():
            pairs = list(zip(rounds, first, strict=True))
            speed, used = (statistics.median(base[n] / own[n] for own, base in pairs) for n in (0, 1))
            steps = 1 / statistics.median(seconds for seconds, _ in rounds)
            print(f"{engine:12} {name:18} {steps:8.2f} {speed:7.2f} {1 / used:15.2f}", flush=True)


if __name__ == "__main__":
    main()
