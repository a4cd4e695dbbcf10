"""Train a tiny network with several optimizers, stop, resume, and print what can be compared as JSON.

    python optimizer_runs.py FOLDER [--cpus N] [--together]

The first states come from FOLDER, which the first process fills. --cpus N trains on N virtual processors (TensorFlow),
--together trains two seeds in one program (JAX).
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np
from keras import ops

RATE = {"kind": "cosine", "peak": 0.01, "warmup": 2, "duration": 6}
EVERYTHING = {"accumulate": 2, "sam_rho": 0.05, "clip_norm": 0.5, "ema_decay": 0.9}
SECTIONS = {
    "adamw": {"optimizer": {"name": "AdamW", "weight_decay": 0.05}, **EVERYTHING},
    "muon": {
        "optimizer": {"name": "Muon", "weight_decay": 0.1, "rest": {"name": "SGD", "learning_rate_factor": 5}},
        "lookahead": {"interval": 2},
    },
    "own": {"optimizer": {"name": "optimizer_runs.SignSGD", "decay_all": True, "weight_decay": 0.05, "clipnorm": 1.0}},
    "noisy": {"optimizer": "optimizer_runs.NoisySGD"},
}
BATCH = 32


class SignSGD(keras.optimizers.Optimizer):
    """A user's own optimizer, with a count of the steps as an additional variable."""

    def build(self, variables):
        """Make the slots."""
        super().build(variables)
        self.count = self.add_variable((), name="count")

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable."""
        self.assign_add(self.count, 1)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * ops.sign(gradient))


class NoisySGD(keras.optimizers.Optimizer):
    """Adds noise to the gradients, as DP-SGD and Langevin dynamics do."""

    def __init__(self, learning_rate=0.01, **options):
        super().__init__(learning_rate, **options)
        self.generator = keras.random.SeedGenerator(3)

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable."""
        noise = ops.cast(keras.random.normal(variable.shape, seed=self.generator), variable.dtype)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * (gradient + noise))


def main():
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--together", action="store_true")
    options = parser.parse_args()
    if options.cpus > 1:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * options.cpus)
    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training import engines
    from cifarzoo.training.job import prepare

    dataset = load("synthetic")
    indices = np.random.RandomState(0).randint(0, dataset.size("train"), (6, BATCH)).astype(np.int32)
    rates = np.linspace(0.002, 0.01, 6)
    results = {}
    # Of two replicas or seeds, what differs from one is the same for all Keras optimizers.
    names = list(SECTIONS) if options.cpus == 1 and not options.together else ["adamw", "muon"]
    for name in names:
        section = SECTIONS[name]
        document = {
            "module": "tiny_models",
            "model": "tiny_linear",
            "model_parameters": {"hidden": 16},
            "dataset": "synthetic",
            "precision": "float64",
            "distribution": "mirrored" if options.cpus > 1 else "none",
            "seeds": [0, 1],
            "seeds_at_once": 2 if options.together else 1,
            "train_parameters": section | {"schedule": RATE, "batch_size": BATCH, "steps_per_call": 3},
        }
        job = prepare(Experiment.model_validate(document), dataset)

        def engine(seed, name=name, job=job):
            created = job.create_engine(seed)
            path = options.folder / f"{name}{seed}.npz"
            if not path.exists():
                np.savez(path, **created.state())
            with np.load(path) as first:
                created.restore(dict(first))
            return created

        whole = engine(0)
        losses = [whole.train(k, indices[k : k + 1], rates[k : k + 1])["loss"] for k in range(3)]
        middle = whole.state()
        losses.append(whole.train(3, indices[3:], rates[3:])["loss"])
        results[name] = {"losses": losses}
        if options.cpus == 1 and not options.together:
            resumed = engine(0)
            resumed.restore(middle)
            resumed.train(3, indices[3:], rates[3:])
            state, again = whole.state(), resumed.state()
            results[name] |= {
                "names": {key: [str(value.dtype), *value.shape] for key, value in state.items()},
                "resumed": all(state[key].tobytes() == again[key].tobytes() for key in state),
                "moved": {key: bool((state[key] != middle[key]).any()) for key in state},
            }
        if options.together:
            group = engines.current().create_group([engine(0), engine(1)])
            sums = [group.train(k, np.stack([indices[k : k + 1]] * 2), rates[k : k + 1]) for k in range(3)]
            results[name]["together"] = [first["loss"] for first, _ in sums]
            results[name]["second"] = [second["loss"] for _, second in sums]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
