"""Measure how long a user waits for the import, the model and the first training step.

    [KERAS_BACKEND=jax] python benchmarks/startup.py [--depths 20 110 1001] [--kinds ours unrolled looped fit]
        [--batch 128]

The import is timed against bare Python, in turns. Models and first steps are timed in one process each, for this engine
("ours"), for the engine without loops over repeated blocks ("unrolled"), on JAX for the engine with the loops that it
uses on accelerators, but on processors only for the deepest networks ("looped"), and for Keras `fit`. Expected before
measuring: an import under 10 ms; first steps dominated by tracing, in proportion to depth.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

IMPORT_ROUNDS = 15
KINDS = ("ours", "unrolled", "looped", "fit")


def seconds(*code):
    """Return the wall-clock seconds of a Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *code], check=True)
    return time.perf_counter() - started


def first_step(depth, kind, batch):
    """Return seconds to build a ResNet and for its first and second training step, without data and imports."""
    import keras
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.keras_internals import block_loops
    from cifarzoo.models.registry import create_model
    from cifarzoo.training.job import prepare

    dataset = load("synthetic")
    started = time.perf_counter()
    if kind != "fit":
        if kind == "unrolled":
            block_loops.MIN_COPIES = float("inf")
        experiment = Experiment(
            model=f"cifar_resnet{depth}",
            dataset="synthetic",
            train_parameters={"steps_per_call": 1, "batch_size": batch},
        )
        engine = prepare(experiment, dataset).create_engine(0)
        if kind == "looped":
            from cifarzoo.keras_internals import block_loops_jax

            block_loops_jax.MIN_COPIES_ON_CPU = block_loops.MIN_COPIES
            engine.loops_on_device = True
        built = time.perf_counter()
        indices = np.arange(batch, dtype=np.int32)[None]
        engine.train(0, indices, np.array([0.01]))
        done = time.perf_counter()
        engine.train(1, indices, np.array([0.01]))
    else:
        model = create_model(f"cifar_resnet{depth}")
        model.compile(keras.optimizers.SGD(0.01, 0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        built = time.perf_counter()
        images, labels = dataset.train.images[:batch].astype("float32"), dataset.train.labels[:batch]
        model.train_on_batch(images, labels)
        done = time.perf_counter()
        model.train_on_batch(images, labels)
    return {"build": built - started, "first step": done - built, "second step": time.perf_counter() - done}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 110, 1001])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["ours", "fit"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--one", choices=KINDS)
    options = parser.parse_args()
    if "looped" in options.kinds and os.environ.get("KERAS_BACKEND") != "jax":
        parser.error("looped: on TensorFlow this equals `ours`; set KERAS_BACKEND=jax")
    if options.one:
        print(json.dumps(first_step(options.depths[0], options.one, options.batch)))
        return
    pairs = [(seconds("-c", "pass"), seconds("-c", "import cifarzoo")) for _ in range(IMPORT_ROUNDS)]
    bare, with_import = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"import cifarzoo adds {1e3 * (with_import - bare):.1f} ms to Python's {1e3 * bare:.1f} ms")
    for depth in options.depths:
        for kind in options.kinds:
            process = subprocess.run(
                [sys.executable, __file__, "--one", kind, "--depths", str(depth), "--batch", str(options.batch)],
                capture_output=True,
                check=False,
                text=True,
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"},
            )
            if process.returncode:
                shown = f"ended with status {process.returncode} (-9: killed, out of memory)"
            else:
                times = json.loads(process.stdout.strip().splitlines()[-1])
                shown = "  ".join(f"{k} {v:.1f} s" for k, v in times.items())
            print(f"ResNet-{depth:<5} {kind:6} {shown}", flush=True)


if __name__ == "__main__":
    main()
