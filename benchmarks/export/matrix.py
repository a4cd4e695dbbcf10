"""Export every family to every format, and write the table of docs/export.md.

    python benchmarks/export/matrix.py                      # what results.json lacks: about 20 minutes on two cores
    KERAS_BACKEND=torch python benchmarks/export/matrix.py  # the same of PyTorch's programs: about 5 minutes
    python benchmarks/export/matrix.py --only 'resnet20*'   # again, those that match
    python benchmarks/export/matrix.py --page               # only the table

Published weights are checked on CIFAR's test images. Networks without any get random weights, statistics of
BatchNormalization included, and are checked on 200 embedded images: that shows whether a format can hold them. Their
int8 files have no error, only a share of images that keep their class.

results.json is written after every file, so that the command can be stopped and run again.
"""

import argparse
import fnmatch
import importlib.metadata
import json
import tempfile
from pathlib import Path

import numpy as np

import cifarzoo
from cifarzoo.errors import ExportError
from cifarzoo.exporting.formats import FORMATS
from cifarzoo.marked_table import with_table
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.runs import atomic

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
MARKS = ("<!-- matrix:begin -->", "<!-- matrix:end -->")
PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnxruntime", "ai-edge-litert", "openvino", "torch")
INT8 = "litert-int8"
FEW = 200

# A network per family, and those of its variants that have other layers.
UNTRAINED = [
    ("cifar_resnet8", {}),
    ("cifar_resnet", {"depth": 8, "normalization": "group"}),
    ("cifar_resnet", {"depth": 8, "block_type": "preactivated", "shortcut_type": "B"}),
    ("cifar_resnet18", {}),
    ("cifar_resnet9", {}),
    ("cifar_vgg11", {}),
    ("cifar_wide_resnet", {"depth": 10, "width": 2}),
    ("cifar_resnext29_32x4d", {}),
    ("cifar_shake_shake26_2x32d", {}),
    ("cifar_pyramidnet110_a48", {"shake_drop": True}),
    ("cifar_skipnet38", {"gate": "recurrent"}),
    ("cifar_skipnet38", {"gate": "feed_forward"}),
]


def untrained() -> dict[str, dict]:
    """Return the networks without published weights by their calls."""
    from cifarzoo.models.catalogue import call

    return {call(model, arguments): {"model": model, "arguments": arguments} for model, arguments in UNTRAINED}


def subjects() -> dict[str, dict]:
    """Return the networks by name: calls, then the tags of published weights."""
    return untrained() | {entry.tag: {"tag": entry.tag, "model": entry.model} for entry in manifest()}


def randomized(model: str, arguments: dict):
    """Return a network with random weights, and with other statistics and scales than 0 and 1."""
    import keras

    keras.utils.set_random_seed(0)
    network = cifarzoo.create_model(model, **arguments)
    draw = np.random.default_rng(0).uniform
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(draw(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(draw(-0.1, 0.1, weight.shape))
    return network


def few_images(folder: str) -> str:
    """Write some of the embedded images to an .npz file and return its path."""
    embedded = cifarzoo.load_data("synthetic")
    train, test = (split.take(slice(FEW)) for split in (embedded.train, embedded.test))
    path = Path(folder) / "embedded.npz"
    np.savez(path, x_train=train.images, y_train=train.labels, x_test=test.images, y_test=test.labels)
    return str(path)


def measure(subject: dict, to: str, folder: str, images: str) -> dict:
    """Export one network to a format; return what of the result goes into the table, or why it was refused."""
    tag = subject.get("tag")
    model = tag or randomized(subject["model"], subject["arguments"])
    try:
        out = Path(folder) / f"network{FORMATS[to].ending}"
        row = cifarzoo.export(model, to, out, dataset=None if tag else images)
    except ExportError as failure:
        return {"refused": str(failure)}
    # The error of random weights says nothing.
    errors = ("error", "error_before") if tag else ()
    keys = ("bytes", "images", "largest_difference", "largest_output", "same_class", *errors)
    return {key: float(f"{row[key]:.6g}") for key in keys if key in row}


def cell(record: dict | None) -> str:
    """Format what a table says of a float32 file: the largest difference and the size; "" if it was not measured."""
    if record is None:
        return ""
    if "refused" in record:
        return "refused"
    share = record["largest_difference"] / record["largest_output"]
    return f"{share:.0e}".replace("e-0", "e-") + f", {record['bytes'] / 1e6:.1f} MB" if share else _exact(record)


def _exact(record: dict) -> str:
    return f"0, {record['bytes'] / 1e6:.1f} MB"


def int8_cells(record: dict | None) -> list[str]:
    """Format what a table says of an int8 file: error before and after, images of the same class, size."""
    if record is None or "refused" in record:
        return ["refused" if record else "", "", ""]
    errors = f"{record['error_before']:.2f} → {record['error']:.2f}" if "error" in record else ""
    return [errors, f"{100 * record['same_class'] / record['images']:.1f}", f"{record['bytes'] / 1e6:.2f}"]


def table(results: dict) -> str:
    """Return the Markdown of the table."""
    exact = [to for to in FORMATS if to != INT8]
    lines = [
        "| network | " + " | ".join(exact) + " | int8: error % | same class % | MB |",
        "| --- |" + " --- |" * len(exact) + " --- | ---: | ---: |",
    ]
    # Networks of every family have a row, so that the page shows what was not measured.
    for name, records in ({name: {} for name in untrained()} | results["networks"]).items():
        cells = [f"`{name}`", *(cell(records.get(to)) for to in exact), *int8_cells(records.get(INT8))]
        lines.append("| " + " | ".join(cells) + " |")
    reasons = {
        f"* `{name}` as `{to}`: {record['refused']}"
        for name, records in results["networks"].items()
        for to, record in records.items()
        if "refused" in record
    }
    versions = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    return "\n".join([*lines, "", *sorted(reasons), *([""] if reasons else []), f"Measured with {versions}."])


def write_page(results: dict) -> None:
    """Put the table into the page."""
    atomic.write_text(PAGE, with_table(PAGE, MARKS, table(results)))


def fill(known: dict[str, dict], only: str | None, folder: str) -> None:
    """Measure what is missing, or what matches, on this backend, and write results.json after every file."""
    import keras

    images, networks = few_images(folder), subjects()
    for name, subject in networks.items():
        again = only and fnmatch.fnmatch(name, only)
        for to, form in FORMATS.items():
            missing = to not in known.get(name, {})
            if form.backend != keras.backend.backend() or not (again if only else missing):
                continue
            record = measure(subject, to, folder, images)
            print(name, to, record, flush=True)
            records = known.get(name, {}) | {to: record}
            known[name] = {to: records[to] for to in FORMATS if to in records}
            results = {
                "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
                "networks": {name: known[name] for name in networks if name in known},
            }
            atomic.write_text(RESULTS, json.dumps(results, indent=1) + "\n")


def main() -> None:
    """Measure, and write results.json and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="pattern of networks to measure again")
    parser.add_argument("--page", action="store_true", help="only write the table from results.json")
    options = parser.parse_args()
    known = json.loads(RESULTS.read_text(encoding="utf-8"))["networks"] if RESULTS.exists() else {}
    if not options.page:
        with tempfile.TemporaryDirectory() as folder:
            fill(known, options.only, folder)
    write_page(json.loads(RESULTS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
