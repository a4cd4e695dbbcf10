"""Train a small experiment in its own process: `python train_tiny.py '{"precision": "float64", ...}' [options]`.

Prints one JSON line with the results and a checksum of all state. Options: --cpus N makes N virtual processors.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

TEST_IMAGES = 103


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("document", type=json.loads)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--interrupt-after", type=int, help="interrupt, as Ctrl-C does, after this many steps")
    options = parser.parse_args()
    if options.cpus > 1:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * options.cpus)
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.errors import CifarzooError
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.runs.folder import RunFolder
    from cifarzoo.training import engines
    from cifarzoo.training.job import prepare
    from cifarzoo.training.trainer import run

    experiment = Experiment.model_validate(options.document)
    losses = []

    import keras

    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(logs["loss"])
            if batch + 1 == options.interrupt_after:
                os.kill(os.getpid(), signal.SIGINT)

    try:
        # Few test images: XLA is slow at convolutions in float64.
        dataset = load("synthetic")
        dataset = dataclasses.replace(dataset, test=dataset.test.take(slice(TEST_IMAGES)))
        engines.current().join_cluster(experiment.distribution)
        job = prepare(experiment, dataset)
        results = run(job, experiment.seeds[0], [Losses()])
    except CifarzooError as failure:
        print(json.dumps({"error": str(failure), "type": type(failure).__name__, "losses": losses}))
        return
    arrays, meta = RunFolder.of(experiment, experiment.seeds[0]).load_checkpoint()
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(arrays[k]).tobytes() for k in sorted(arrays))).hexdigest()
    found = {"replicas": job.replicas, "results": results.as_dict(), "losses": losses, "sha256": digest}
    print(json.dumps(found | {"step": meta["step"], "imports_tensorflow": "tensorflow" in sys.modules}))


if __name__ == "__main__":
    main()
