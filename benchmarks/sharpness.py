"""Measure probes per second of Hessian traces, Hessian-vector products and NTK traces, ours against plain code.

    python benchmarks/sharpness.py [--backends tensorflow jax] [--images 125] [--calls 5] [--rounds 3]

Uses the published ResNet-20 on synthetic images. "plain" is the loop that one would write first: two nested gradient
tapes per probe, run eagerly (on JAX, where nobody runs eager code, under `jax.jit`). "compiled" is the same inside one
`tf.function`. "trace" is ours and also returns the Fisher and NTK traces of the same probe; "ntk" is ours without the
Hessian; "hvp" is our Hessian-vector product, which the eigenvalue needs. Each contestant runs in its own process, in
turns; the medians of the rounds count. Other programs on the machine slow down the clock, so the processor time per
probe is printed as well. All contestants must return the same v'Hv, which is checked.

Expected before measuring: the convolutions do 9 units of work in two backward passes against our 5, so twice
"compiled"; the goal is 5 times "plain".
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

CONTESTANTS = {"tensorflow": ("plain", "compiled", "hvp", "trace", "ntk"), "jax": ("plain", "hvp", "trace", "ntk")}


def plain_tensorflow(loss_function, images, labels, compiled=False):
    import tensorflow as tf

    model = loss_function.model
    variables = [v.value for v in model.trainable_variables]
    images, labels = tf.constant(images.astype("float32")), tf.constant(labels)

    def quadratic_form(parts):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=False))
                loss = tf.reduce_mean(losses)
            product = sum(tf.reduce_sum(g * v) for g, v in zip(inner.gradient(loss, variables), parts, strict=True))
        return sum(tf.reduce_sum(g * v) for g, v in zip(outer.gradient(product, variables), parts, strict=True))

    run = tf.function(quadratic_form, autograph=False) if compiled else quadratic_form

    def probe(v):
        ends = np.cumsum([int(np.prod(t.shape)) for t in variables])[:-1]
        parts = [tf.constant(p.reshape(t.shape)) for p, t in zip(np.split(v, ends), variables, strict=True)]
        return float(run(parts))

    return probe


def plain_jax(loss_function, images, labels):
    import jax
    import jax.numpy as jnp

    model = loss_function.model
    start = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    images, labels = jnp.asarray(images, "float32"), jnp.asarray(labels)

    def loss(weights):
        logits, _ = model.stateless_call(weights, others, images, training=False)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))

    def dot(first, second):
        return sum(jnp.sum(a * b) for a, b in zip(first, second, strict=True))

    @jax.jit
    def quadratic_form(weights, parts):
        return dot(jax.grad(lambda w: dot(jax.grad(loss)(w), parts))(weights), parts)

    def probe(v):
        ends = np.cumsum([int(np.prod(t.shape)) for t in start])[:-1]
        parts = [jnp.asarray(p.reshape(t.shape)) for p, t in zip(np.split(v, ends), start, strict=True)]
        return float(quadratic_form(start, parts))

    return probe


def one(backend, contestant, count, calls):
    """Return seconds of the first call, clock and processor seconds of a later call, and the first probe's v'Hv."""
    from cifarzoo.data import load
    from cifarzoo.evaluation.sharpness import LossFunction
    from cifarzoo.models.registry import create_model

    model = create_model("cifar_resnet20", load_weights="resnet20_v1_cifar10_short_s0", block_type="original")
    split = load("synthetic").train.take(np.arange(count))
    loss_function = LossFunction(model, split.images, split.labels, chunk=count)
    if contestant in ("plain", "compiled"):
        options = {"compiled": True} if contestant == "compiled" else {}
        make = plain_tensorflow if backend == "tensorflow" else plain_jax
        probe = make(loss_function, split.images, split.labels, **options)
    else:
        probe = {
            "hvp": lambda v: float(v @ loss_function.hessian_vector(v)),
            "trace": lambda v: float(loss_function.quadratic_forms(v, loss_function.chunks[0])[0]),
            "ntk": lambda v: float(loss_function.quadratic_forms(v, loss_function.chunks[0], hessian=False)[2]),
        }[contestant]
    random = np.random.default_rng(0)
    probes = [random.choice([-1, 1], loss_function.parameters).astype("float32") for _ in range(calls)]
    started = time.perf_counter()
    form = probe(probes[0])
    first = time.perf_counter() - started
    started, busy = time.perf_counter(), time.process_time()
    for v in probes:
        probe(v)
    return {
        "form": form,
        "first": first,
        "seconds": (time.perf_counter() - started) / calls,
        "processor": (time.process_time() - busy) / calls,
    }


def measure(backend, contestant, options):
    command = [sys.executable, __file__, "--one", backend, contestant, "--images", str(options.images)]
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}
    process = subprocess.run(
        [*command, "--calls", str(options.calls)], capture_output=True, text=True, env=environment, check=True
    )
    return json.loads(process.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--backends", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--images", type=int, default=125)
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one, options.images, options.calls)))
        return
    print("backend    contestant  first call/s  probes/s  x plain  processor s/probe  x plain")
    for backend in options.backends:
        rounds = [
            {name: measure(backend, name, options) for name in CONTESTANTS[backend]} for _ in range(options.rounds)
        ]
        for name in CONTESTANTS[backend]:
            first, seconds, processor = (
                statistics.median(result[name][key] for result in rounds) for key in ("first", "seconds", "processor")
            )
            gains = [
                statistics.median(result["plain"][key] / result[name][key] for result in rounds)
                for key in ("seconds", "processor")
            ]
            shown = f"{first:13.1f} {1 / seconds:9.2f} {gains[0]:8.1f} {processor:18.3f} {gains[1]:8.1f}"
            print(f"{backend:10} {name:10} {shown}", flush=True)
            if name != "ntk" and abs(rounds[0][name]["form"] / rounds[0]["plain"]["form"] - 1) > 1e-2:
                sys.exit(f"{name}: {rounds[0][name]['form']}, but plain gives {rounds[0]['plain']['form']}")


if __name__ == "__main__":
    main()
