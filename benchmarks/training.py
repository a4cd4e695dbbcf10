"""Compare training throughput at batch 128: this engine, Keras `fit` and plain PyTorch in one run.

    [KERAS_BACKEND=jax] python benchmarks/training.py [--networks resnet20 resnet56] [--steps 40] [--rounds 3]
        [--repeats 1] [--timeout 600]

On an H100 or H200, where compilation takes far longer than the timed steps: KERAS_BACKEND=jax, `--networks resnet20
--precision bfloat16 --steps 200 --rounds 1 --repeats 3 --peak 989`, and the same for resnet110, resnet164, wrn_28_10
and pyramidnet272_a200, one command each.

Contestants run in turns, each in its own process, so that all see the same machine, and time their steps `repeats`
times; medians count. Results are printed as they arrive. All train the same network with Nesterov SGD and
weight decay on uint8 images with crop and flip, except `fit`, which gets float32 images without augmentation and has no
weight decay. PyTorch (optional) shows its best result: on processors the better of two layouts; on a GPU channels last,
eager or compiled, with and without CUDA graphs. An epoch is 50,000 images; FLOPs are six times the multiply-accumulates
of a forward pass; `--peak` is the figure from the device's data sheet.

Expected before measuring, on processors: twice `fit` in float32, thanks to the fused BatchNormalization, no host loop
and cheap augmentation; equal to PyTorch in float32, because both call oneDNN, and faster in bfloat16. On a GPU: several
times `fit` and eager PyTorch for the narrow ResNets, which dispatch limits there; equal to compiled PyTorch, and 40 %
of the peak, for WRN-28-10.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

BATCH = 128


def median_speed(run, steps, repeats):
    """Return the median images per second of `run(number)`, which trains `steps` steps."""
    speeds = []
    for number in range(repeats):
        started = time.perf_counter()
        run(number)
        speeds.append(steps * BATCH / (time.perf_counter() - started))
    return statistics.median(speeds)


def ours(network, steps, precision, repeats):
    """Time the engine of cifarzoo on Keras' backend."""
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training.job import prepare

    experiment = Experiment.model_validate(
        {
            "model": f"cifar_{network}",
            "model_parameters": arguments(network),
            "dataset": "synthetic",
            "precision": precision,
            "train_parameters": {"nesterov": True, "weight_decay": 5e-4, "steps_per_call": steps, "batch_size": BATCH},
        }
    )
    engine = prepare(experiment, load("synthetic")).create_engine(0)
    indices = np.arange(steps * BATCH, dtype=np.int32).reshape(steps, BATCH) % 10_000
    engine.train(0, indices, np.full(steps, 0.01))
    return median_speed(lambda k: engine.train((k + 1) * steps, indices, np.full(steps, 0.01)), steps, repeats)


def keras_fit(network, steps, precision, repeats):
    """Time `compile` and `fit` on the same model, without augmentation and weight decay."""
    import keras
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.models.registry import create_model

    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    model = create_model(f"cifar_{network}", **arguments(network))
    model.compile(
        keras.optimizers.SGD(0.01, 0.9, nesterov=True), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    split = load("synthetic").train
    indices = np.arange((steps + 3) * BATCH) % len(split)
    images, labels = split.images[indices].astype("float32"), split.labels[indices]
    model.fit(images[: 3 * BATCH], labels[: 3 * BATCH], batch_size=BATCH, verbose=0)
    images, labels = images[3 * BATCH :], labels[3 * BATCH :]
    return median_speed(lambda k: model.fit(images, labels, batch_size=BATCH, verbose=0), steps, repeats)


def pytorch(network, steps, precision, repeats):
    """Time the fastest of the PyTorch configurations that run on this machine."""
    import torch
    from torch_networks import NETWORKS, trainer

    from cifarzoo.models.catalogue import catalogue

    parameters = sum(p.numel() for p in NETWORKS[network]().parameters())
    expected = catalogue()[f"cifar_{network}"]
    of_defaults = expected.arguments | arguments(network) == expected.arguments
    if of_defaults and parameters != expected.trainable["10"]:
        raise ValueError(f"{network}: {parameters} parameters in PyTorch, {expected.trainable['10']} in Keras")
    if torch.cuda.is_available():
        ways = [(True, None), (True, "default"), (True, "reduce-overhead")]
    else:
        ways = [(False, None), (True, None)]
    speeds = []
    for channels_last, compiled in ways:
        try:
            train = trainer(network, BATCH, precision == "bfloat16", channels_last, compiled)
            train(3)
            speed = median_speed(lambda k, train=train: train(steps), steps, repeats)
        except RuntimeError as failure:  # torch.compile needs a C compiler, which some machines lack
            print(f"PyTorch, {compiled}: {failure!s:.200}", file=sys.stderr)
            continue
        speeds.append(speed)
    return max(speeds)


def arguments(network):
    """Return the model arguments: the original form for the basic ResNets, the defaults for other networks."""
    original = network in ("resnet20", "resnet56", "resnet110")
    return {"block_type": "original", "shortcut_type": "A"} if original else {}


CONTESTANTS = {"ours": ours, "fit": keras_fit, "pytorch": pytorch}


def measure(name, network, options):
    """Run one contestant in its own process and return its images per second, or None if it cannot run here."""
    command = [sys.executable, __file__, "--one", name, "--networks", network]
    command += ["--steps", str(options.steps), "--precision", options.precision, "--repeats", str(options.repeats)]
    # Enable oneDNN also for `fit`, which would run without it on many processors.
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}
    try:
        process = subprocess.run(
            command, capture_output=True, check=False, text=True, env=environment, timeout=options.timeout
        )
    except subprocess.TimeoutExpired:
        print(f"{network}, {name}: not finished after {options.timeout} s", file=sys.stderr)
        return None
    if process.returncode:
        reason = process.stderr.strip().splitlines() or [f"ended with status {process.returncode}"]
        print(f"{network}, {name}: {reason[-1]:.300}", file=sys.stderr)
        return None
    speed = json.loads(process.stdout.strip().splitlines()[-1])
    print(f"{network}, {name}: {speed:,.0f} images/s", file=sys.stderr, flush=True)
    return speed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=3600, help="seconds per contestant and round")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device in this precision")
    parser.add_argument("--one", choices=CONTESTANTS)
    options = parser.parse_args()
    if options.one:
        contestant = CONTESTANTS[options.one]
        print(json.dumps(contestant(options.networks[0], options.steps, options.precision, options.repeats)))
        return
    from cifarzoo.models.catalogue import catalogue

    columns = f"{'ours':>8} {'fit':>8} {'pytorch':>8}   ours/fit  ours/pytorch   epochs/s   TFLOP/s   of peak"
    print(f"{'network':20} {'precision':9} {columns}")
    for network in options.networks:
        rounds = [{name: measure(name, network, options) for name in CONTESTANTS} for _ in range(options.rounds)]
        median = {
            name: statistics.median(speeds) if (speeds := [r[name] for r in rounds if r[name]]) else None
            for name in CONTESTANTS
        }
        shown = " ".join(f"{median[name]:8,.0f}" if median[name] else f"{'-':>8}" for name in CONTESTANTS)
        if median["ours"]:
            ratios = [f"{median['ours'] / median[other]:.2f}" if median[other] else "-" for other in ("fit", "pytorch")]
            arithmetic = 6 * catalogue()[f"cifar_{network}"].macs["10"] * median["ours"] / 1e12
            share = f"{arithmetic / options.peak:.1%}" if options.peak else "-"
            shown += (
                f"   {ratios[0]:>8}  {ratios[1]:>12}   {median['ours'] / 50_000:8.4f}   {arithmetic:7.2f}   {share:>7}"
            )
        print(f"{network:20} {options.precision:9} {shown}", flush=True)


if __name__ == "__main__":
    main()
