"""Time inference of SkipNets with every block computed, and with blocks computed only for images with open gates.

    python benchmarks/skipping.py [--depths 38 110] [--skipped 0 25 50 75] [--images 1024] [--batch 256] [--rounds 3]

Both run in one process, in turns, on the same images of the synthetic data set with the same untrained weights; the
median of the rounds counts. The gates are set to skip the percentage of gated blocks in --skipped, different ones for
each image; whether training can reach such a percentage without loss is another question. Both must return the same
logits.

Expected before measuring: the remaining share of multiply-accumulates, plus some percent for gates and for gathering
and scattering images; less gain where few images share a block.
"""

import argparse
import statistics
import time

import keras
import numpy as np

from cifarzoo.data import load
from cifarzoo.models.registry import create_model
from cifarzoo.models.skipping import (
    SkippingInference,
    computation_percent,
    executed_macs,
    gate_decisions,
    gate_model,
    gated_blocks,
)


def spread(model, images):
    """Rescale the gates' embeddings so that gates tell images apart; untrained, they see almost the same in all."""
    names = {layer.name for layer in model.layers}
    x = keras.Model(model.input, model.get_layer("before_gates").output).predict(images, verbose=0)
    for block in gated_blocks(model):
        embedding = model.get_layer(f"{block}_gate_embedding")
        embedded = embedding.predict(x, verbose=0)
        linear = embedding.get_layer(f"{block}_gate_linear")
        kernel, bias = linear.get_weights()
        deviation = embedded.std(axis=0) + 1e-6
        linear.set_weights([kernel / deviation, (bias - embedded.mean(axis=0)) / deviation])
        shortcut = f"{block}_shortcut"
        skipped = model.get_layer(shortcut).predict(x, verbose=0) if shortcut in names else x
        x = model.get_layer(block).predict([x, skipped], verbose=0)


def close(model, images, percent):
    """Find the bias of the gates' read-out that skips `percent` of the gated blocks."""
    gates, read_out = gate_model(model), model.get_layer("gate_probability")
    low, high = -20.0, 20.0
    for _ in range(12):
        middle = (low + high) / 2
        read_out.bias.assign([middle])
        skipped = 100 * np.mean(gates.predict(images, batch_size=256, verbose=0) < 0.5)
        low, high = (middle, high) if skipped > percent else (low, middle)


def whole(model, images, batch):
    """Return logits with every block computed."""
    return np.concatenate([model.predict_on_batch(images[i : i + batch]) for i in range(0, len(images), batch)])


def seconds_of(function, *args):
    """Return the wall-clock seconds of a call."""
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depths", type=int, nargs="+", default=[38, 110])
    parser.add_argument("--skipped", type=float, nargs="+", default=[0, 25, 50, 75])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    images = load("synthetic").test.images[: options.images]
    print(
        f"{'network':12} {'computation':>12} {'MMACs':>7} {'all blocks':>11} {'skipping':>9} {'gain':>6}   (images/s)"
    )
    for depth in options.depths:
        model = create_model(f"cifar_skipnet{depth}")
        spread(model, images[:256])
        for percent in options.skipped:
            close(model, images[:256], percent)
            decisions = gate_decisions(model, images)
            skipping = SkippingInference(model)
            contestants = {
                "all": (whole, model, images, options.batch),
                "skipping": (skipping.predict, images, options.batch),
            }
            logits = {name: call(*args) for name, (call, *args) in contestants.items()}
            np.testing.assert_allclose(
                logits["skipping"], logits["all"], rtol=0, atol=1e-4 * np.abs(logits["all"]).max()
            )
            seconds = {name: [] for name in contestants}
            for _ in range(options.rounds):
                for name, call in contestants.items():
                    seconds[name].append(seconds_of(*call))
            speed = {name: len(images) / statistics.median(times) for name, times in seconds.items()}
            print(
                f"SkipNet-{depth:<4} {computation_percent(decisions):10.1f} % "
                f"{executed_macs(model, decisions).mean() / 1e6:7.1f} {speed['all']:11,.0f} {speed['skipping']:9,.0f} "
                f"{speed['skipping'] / speed['all']:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
