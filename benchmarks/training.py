"""Training throughput of ResNets at batch 128: this engine, Keras `fit`, plain PyTorch, side by side in one run.

    python benchmarks/training.py [--depths 20 56] [--steps 40] [--rounds 3]

Every contestant runs in a process of its own, in turns, so that all see the same machine; the median of the rounds
counts. All train the same network with Nesterov SGD and weight decay on uint8 images with crop and flip, except `fit`,
which gets normalised-ready images without any augmentation. PyTorch (optional) shows the best of its layouts.

Expected before measuring: twice `fit` in float32 from the fused BatchNormalization, the saved host loop and the cheap
augmentation; level with PyTorch in float32, as both call oneDNN, and ahead of it in bfloat16.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

BATCH = 128


def ours(depth, steps, precision):
    """The TensorFlow engine of cifarzoo."""
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.training.engines import create_engine
    from cifarzoo.training.experiment import Experiment

    experiment = Experiment.model_validate(
        {
            "model": f"cifar_resnet{depth}",
            "model_parameters": {"block_type": "original", "shortcut_type": "A"},
            "dataset": "synthetic",
            "precision": precision,
            "train_parameters": {"nesterov": True, "weight_decay": 5e-4, "steps_per_call": steps, "batch_size": BATCH},
        }
    )
    engine = create_engine(experiment, load("synthetic"), 0)
    places = np.arange(steps * BATCH, dtype=np.int32).reshape(steps, BATCH) % 10_000
    engine.train(0, places[:3], np.full(3, 0.01))
    started = time.perf_counter()
    engine.train(3, places, np.full(steps, 0.01))
    return steps * BATCH / (time.perf_counter() - started)


def keras_fit(depth, steps, precision):
    """`compile` and `fit` on the same model; L2 of half the decay is the coupled decay there."""
    import keras
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.models.registry import create_model

    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    model = create_model(f"cifar_resnet{depth}", block_type="original", shortcut_type="A")
    model.compile(
        keras.optimizers.SGD(0.01, 0.9, nesterov=True), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    split = load("synthetic").train
    places = np.arange((steps + 3) * BATCH) % len(split)
    images, labels = split.images[places].astype("float32"), split.labels[places]
    model.fit(images[: 3 * BATCH], labels[: 3 * BATCH], batch_size=BATCH, verbose=0)
    started = time.perf_counter()
    model.fit(images[3 * BATCH :], labels[3 * BATCH :], batch_size=BATCH, verbose=0)
    return steps * BATCH / (time.perf_counter() - started)


def pytorch(depth, steps, precision):
    """The best of PyTorch's two layouts."""
    from torch_resnet import images_per_second

    return max(
        images_per_second(depth, BATCH, steps, precision == "bfloat16", channels_last)
        for channels_last in (False, True)
    )


CONTESTANTS = {"ours": ours, "fit": keras_fit, "pytorch": pytorch}


def measure(name, depth, steps, precision):
    """Run one contestant in a process of its own; None if it cannot run here."""
    command = [
        sys.executable,
        __file__,
        "--one",
        name,
        "--depths",
        str(depth),
        "--steps",
        str(steps),
        "--precision",
        precision,
    ]
    # oneDNN for `fit` too, which would do without it on many processors.
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    return json.loads(found.stdout.strip().splitlines()[-1]) if found.returncode == 0 else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"])
    parser.add_argument("--one", choices=CONTESTANTS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(CONTESTANTS[options.one](options.depths[0], options.steps, options.precision)))
        return
    print(f"{'network':10} {'precision':9} {'ours':>8} {'fit':>8} {'pytorch':>8}   ours/fit  ours/pytorch   (images/s)")
    for depth in options.depths:
        for precision in [options.precision] if options.precision else ["float32", "bfloat16"]:
            rounds = [
                {name: measure(name, depth, options.steps, precision) for name in CONTESTANTS}
                for _ in range(options.rounds)
            ]
            median = {
                name: statistics.median(found) if (found := [r[name] for r in rounds if r[name]]) else None
                for name in CONTESTANTS
            }
            shown = " ".join(f"{median[name]:8,.0f}" if median[name] else f"{'-':>8}" for name in CONTESTANTS)
            ratios = [f"{median['ours'] / median[other]:.2f}" if median[other] else "-" for other in ("fit", "pytorch")]
            print(f"ResNet-{depth:<3} {precision:9} {shown}   {ratios[0]:>8}  {ratios[1]:>12}", flush=True)


if __name__ == "__main__":
    main()
