"""Compare the speed of inference on a processor: ours, plain Keras, PyTorch and the formats of `cifarzoo export`.

    python benchmarks/inference.py [--networks resnet20 ...] [--precisions float32 bfloat16] [--rounds 3]
        [--contestants "TensorFlow, folded" "PyTorch, compiled" ...]
    python benchmarks/inference.py --table

Every contestant runs in a process of its own, all of them in turns, `--rounds` times. Each classifies a batch of 500
images repeatedly, and then single images; the shortest times of all rounds count. The results go to
benchmarks/inference.json and the table to docs/performance.md, where `--table` writes it again. Rows of networks and
precisions that are not measured stay if the same versions measured them on the same processor.

"of matmul's speed" compares the arithmetic per second with that of multiplying large matrices, which TensorFlow does at
about the processor's limit: convolutions of many channels reach a little more.

* Keras: `model.predict` of the model as it is.
* TensorFlow: the model in a compiled function, with fused BatchNormalization.
* TensorFlow, folded: what `cifarzoo evaluate` and `predict` use for many images, `CompiledNetwork`.
* JAX, and JAX, folded: the model and its folded copy under `jax.jit`.
* PyTorch, eager and compiled: the same network in benchmarks/torch_networks.py, in both memory layouts, with autocast
  in bfloat16. Compiled means `torch.compile` with frozen weights, which folds BatchNormalization, too.
* ONNX Runtime, OpenVINO, LiteRT: a file that `cifarzoo.export` wrote.

Expected after trials with ResNet-20 on a busy machine, of "TensorFlow, folded" at batch 500: 1.5 times the fastest
PyTorch in float32, where oneDNN's convolutions take most of the time of both, and twice as fast or more in bfloat16,
where TensorFlow's ReLU and sums are slow unless they are part of the convolution. WRN-16-4 gains least, because its
BatchNormalization in front of blocks stays.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "performance.md"
MARKS = ("<!-- inference: begin -->", "<!-- inference: end -->")
BATCH = 500
NETWORKS = ("resnet20", "resnet56", "wrn_16_4", "vgg16")
TITLES = {"resnet20": "ResNet-20", "resnet56": "ResNet-56", "wrn_16_4": "WRN-16-4", "vgg16": "VGG-16"}
PACKAGES = ("tensorflow", "keras", "jax", "torch", "onnxruntime", "openvino", "ai-edge-litert")
OURS = "TensorFlow, folded"


def images():
    """Return a batch of random pixels, uint8."""
    return np.random.default_rng(0).integers(0, 256, (BATCH, 32, 32, 3), dtype=np.uint8)


def our_model(network, precision, folded):
    """Return the Keras model with statistics other than zero and one, folded or not."""
    import keras

    import cifarzoo

    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    model, rng = cifarzoo.create_model(network, **arguments(network)), np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("beta", "moving_mean"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return cifarzoo.fold_batch_norm(model) if folded else model


def arguments(network):
    """Return the arguments for networks of original blocks, which are PyTorch's here."""
    return {"block_type": "original", "shortcut_type": "A"} if network.startswith("resnet") else {}


def keras_predict(network, precision):
    model = our_model(network, precision, folded=False)

    def classify(pixels):
        return model.predict_on_batch(pixels) if len(pixels) == 1 else model.predict(pixels, BATCH, verbose=0)

    return classify


def tensorflow(network, precision):
    import tensorflow as tf

    from cifarzoo.keras_internals.fast_paths import fast_paths

    model = our_model(network, precision, folded=False)

    def outputs(pixels):
        with fast_paths(model, training=False):
            return model(tf.cast(pixels, "float32"), training=False)

    compiled = tf.function(outputs, autograph=False)
    return lambda pixels: compiled(tf.constant(pixels)).numpy()


def tensorflow_folded(network, precision):
    from cifarzoo.inference.network import CompiledNetwork

    return CompiledNetwork(our_model(network, precision, folded=False))


def jax(network, precision, folded=False):
    import jax

    model = our_model(network, precision, folded)
    state = [[v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables)]
    compiled = jax.jit(lambda state, x: model.stateless_call(*state, x.astype("float32"), training=False)[0])
    return lambda pixels: np.asarray(compiled(state, pixels))


def jax_folded(network, precision):
    return jax(network, precision, folded=True)


def pytorch(network, precision, channels_last=False, compiled=False):
    import torch
    from torch_networks import NETWORKS as TORCH_NETWORKS

    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = TORCH_NETWORKS[network]().eval().to(memory_format=layout)

    def forward(x):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return model((x.float() - 120) / 64)

    if compiled:
        import torch._inductor.config

        torch._inductor.config.freezing = True
        forward = torch.compile(forward)

    @torch.no_grad()
    def classify(pixels):
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return forward(x.contiguous(memory_format=layout)).float().numpy()

    return classify


def pytorch_channels_last(network, precision):
    return pytorch(network, precision, channels_last=True)


def pytorch_compiled(network, precision):
    return pytorch(network, precision, compiled=True)


def pytorch_compiled_channels_last(network, precision):
    return pytorch(network, precision, channels_last=True, compiled=True)


def exported(network, form, ending):
    """Return the path of an exported network, and the folder to keep while it is in use."""
    import cifarzoo

    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / f"network{ending}"
    cifarzoo.export(our_model(network, "float32", folded=False), form, path, dataset="synthetic")
    return path, folder


def onnx_runtime(network, precision):
    import onnxruntime

    path, _ = exported(network, "onnx", ".onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels.astype("float32")})[0]


def openvino(network, precision):
    import openvino

    path, _folder = exported(network, "openvino", ".xml")
    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision]}

    def compiled(count, goal):
        network = core.read_model(path)
        network.reshape([count, 32, 32, 3])
        return core.compile_model(network, "CPU", hint | {"PERFORMANCE_HINT": goal})

    single = compiled(1, "LATENCY")
    # Its way to use all cores for many images: several requests at a time.
    part = BATCH // 10
    requests = openvino.AsyncInferQueue(compiled(part, "THROUGHPUT"))
    logits = np.empty((BATCH, 10), np.float32)
    requests.set_callback(
        lambda request, first: logits.__setitem__(slice(first, first + part), request.get_output_tensor().data)
    )

    def classify(pixels):
        pixels = pixels.astype("float32")
        if len(pixels) == 1:
            return single(pixels)[0]
        for first in range(0, BATCH, part):
            requests.start_async({0: pixels[first : first + part]}, first)
        requests.wait_all()
        return logits

    classify.folder = _folder
    return classify


def litert(network, precision):
    from ai_edge_litert.interpreter import Interpreter

    path, _ = exported(network, "litert", ".tflite")
    interpreter = Interpreter(str(path), num_threads=len(os.sched_getaffinity(0)))
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    sizes = []

    def classify(pixels):
        if sizes != [len(pixels)]:
            interpreter.resize_tensor_input(source, pixels.shape)
            interpreter.allocate_tensors()
            sizes[:] = [len(pixels)]
        interpreter.set_tensor(source, pixels.astype("float32"))
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return classify


BOTH, FLOAT32 = ("float32", "bfloat16"), ("float32",)
# Name -> function that returns a classifier of uint8 images, Keras backend, precisions.
CONTESTANTS = {
    "Keras": (keras_predict, "tensorflow", BOTH),
    "TensorFlow": (tensorflow, "tensorflow", BOTH),
    OURS: (tensorflow_folded, "tensorflow", BOTH),
    "JAX": (jax, "jax", BOTH),
    "JAX, folded": (jax_folded, "jax", BOTH),
    "PyTorch, eager": (pytorch, "", BOTH),
    "PyTorch, eager, channels last": (pytorch_channels_last, "", BOTH),
    "PyTorch, compiled": (pytorch_compiled, "", BOTH),
    "PyTorch, compiled, channels last": (pytorch_compiled_channels_last, "", BOTH),
    "ONNX Runtime": (onnx_runtime, "tensorflow", FLOAT32),
    "OpenVINO": (openvino, "tensorflow", BOTH),
    "LiteRT": (litert, "tensorflow", FLOAT32),
}


def shortest(classify, pixels, calls):
    """Return the shortest seconds of a call, after two to warm up."""
    seconds = []
    for call in range(calls + 2):
        started = time.perf_counter()
        logits = classify(pixels)
        if call > 1:
            seconds.append(time.perf_counter() - started)
    assert logits.shape == (len(pixels), 10), logits.shape  # noqa: S101
    return min(seconds)


def measure_here(name, network, precision, calls):
    """Return the times of a contestant, in this process."""
    classify = CONTESTANTS[name][0](network, precision)
    pixels = images()
    return {"batch": shortest(classify, pixels, calls), "single": shortest(classify, pixels[:1], 10 * calls)}


def measure(name, network, precision, options):
    """Return the times of a contestant in a process of its own, or None if it does not run here."""
    command = [sys.executable, __file__, "--one", name, "--networks", network, "--precisions", precision]
    command += ["--calls", str(options.calls)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    if backend := CONTESTANTS[name][1]:
        environment["KERAS_BACKEND"] = backend
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, env=environment, timeout=options.timeout
        )
    except subprocess.TimeoutExpired:
        print(f"{network}, {precision}, {name}: not finished after {options.timeout} s", file=sys.stderr)
        return None
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        print(f"{network}, {precision}, {name}: {reason[-1]:.300}", file=sys.stderr)
        return None
    times = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{network}, {precision}, {name}: {BATCH / times['batch']:,.0f} images/s", file=sys.stderr, flush=True)
    return times


def rows_of(network, precision, options):
    """Return the shortest times of all contestants, measured in turns, as rows for the file of results."""
    names = [name for name in options.contestants if precision in CONTESTANTS[name][2]]
    per_image = operations(network)
    best = {}
    for _ in range(options.rounds):
        for name in names:
            if times := measure(name, network, precision, options):
                before = best.get(name, times)
                best[name] = {key: min(value, before[key]) for key, value in times.items()}
    return [
        {
            "network": network,
            "precision": precision,
            "contestant": name,
            "images_per_second": round(BATCH / times["batch"], 1),
            "operations": per_image,
            "single_image_ms": round(1e3 * times["single"], 3),
        }
        for name, times in best.items()
    ]


def matmul_speed(precision):
    """Return the operations per second of multiplying large matrices with TensorFlow, almost the processor's limit."""
    import tensorflow as tf

    size = 2048
    factor = tf.cast(tf.random.stateless_normal([size, size], [0, 0]), precision)
    multiply = tf.function(lambda: tf.matmul(factor, factor))
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        multiply().numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)


def operations(network):
    """Return the floating-point operations of a network per image."""
    import cifarzoo
    from cifarzoo.models.macs import macs

    return 2 * macs(cifarzoo.create_model(network, **arguments(network)))


def rows_that_stay(results, networks, precisions):
    """Return the rows of other networks and precisions, if the same versions measured them on the same processor."""
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    if any(before.get(key) != results[key] for key in ("processor", "note", "versions")):
        return []
    return [row for row in before["rows"] if (row["network"], row["precision"]) not in product(networks, precisions)]


def installed(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(results):
    """Return the Markdown table of a file of results."""
    lines = [
        f"{results['processor']}, {results['date']}; "
        + ", ".join(f"{name} {number}" for name, number in results["versions"].items() if number)
        + f"; {results['note']}.",
        "",
        f"| network | precision | contestant | images/s at batch {BATCH} | of matmul's speed % | one image, ms |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    groups = {}
    for row in results["rows"]:
        groups.setdefault((row["network"], row["precision"]), []).append(row)
    for (network, precision), rows in groups.items():
        for number, row in enumerate(rows):
            first = [TITLES.get(network, network), precision] if not number else ["", ""]
            share = row["images_per_second"] * row["operations"] / results["matmul"][precision]
            speeds = f"{row['images_per_second']:,.0f} | {100 * share:.0f}"
            lines.append(f"| {' | '.join(first)} | {row['contestant']} | {speeds} | {row['single_image_ms']:.2f} |")
    return "\n".join([*lines, "", *ratios(groups)])


def ratios(groups):
    """Return a line per group: how much faster ours is than the fastest PyTorch."""
    for (network, precision), rows in groups.items():
        speeds = {row["contestant"]: row["images_per_second"] for row in rows}
        torch = [speed for contestant, speed in speeds.items() if contestant.startswith("PyTorch")]
        if OURS in speeds and torch:
            factor = speeds[OURS] / max(torch)
            yield f"* {TITLES.get(network, network)}, {precision}: {factor:.2f} times the fastest PyTorch."


def write_table(results):
    from cifarzoo.marked_table import with_table

    PAGE.write_text(with_table(PAGE, MARKS, table(results)), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--precisions", nargs="+", choices=BOTH, help="default: those that the processor has")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=8, help="batches per contestant and round")
    parser.add_argument("--timeout", type=int, default=900, help="seconds per contestant and round")
    parser.add_argument("--note", default="nothing else ran", help="what the table says about the machine")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure_here(options.one, options.networks[0], options.precisions[0], options.calls)))
        return
    if options.table:
        write_table(json.loads(RESULTS.read_text(encoding="utf-8")))
        return
    from cifarzoo.hardware import CPUINFO, multiplies_bfloat16, processor_name

    has_bfloat16 = CPUINFO.is_file() and multiplies_bfloat16(CPUINFO.read_text(encoding="utf-8"))
    precisions = options.precisions or (BOTH if has_bfloat16 else FLOAT32)
    results = {
        "processor": processor_name(),
        "date": time.strftime("%Y-%m-%d"),
        "note": options.note,
        "versions": {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES},
        "matmul": {precision: round(matmul_speed(precision)) for precision in precisions},
        "rows": [],
    }
    results["rows"] = rows_that_stay(results, options.networks, precisions)
    for network in options.networks:
        for precision in precisions:
            results["rows"] += rows_of(network, precision, options)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_table(results)
    print(table(results))


if __name__ == "__main__":
    main()
