"""Compare converted networks with the networks they come from: equal weights give equal logits.

Usage: python benchmarks/conversion/agree.py [PATTERN ...] [--classes N] [--format FORMAT] [--skip PATTERN] [--redo]

For every architecture of the table of checkpoints, once per source, number of classes (10 and 100) and file format, an
independent implementation draws random weights and saves them as the source does. The file is converted, and both
networks see the same raw pixels. PATTERN selects by name: `osmr/preresnet*`.

Results are kept in agreement.json, and the table in README.md is written anew from it. What is in there is skipped
unless `--redo`. Formats whose libraries are missing are left out: pytorchcv for osmr; tf_keras and tf2cv for .h5 files.
"""

import argparse
import fnmatch
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from references import STATISTICS, normalized, random_images, reference, without_input_statistics

from cifarzoo.conversion.cache import describe
from cifarzoo.conversion.convert import convert
from cifarzoo.conversion.entries import Entry, entries
from cifarzoo.conversion.layouts import LAYOUTS
from cifarzoo.conversion.readers import read_checkpoint
from cifarzoo.conversion.state import state_of
from cifarzoo.conversion.to_torch import TARGETS, torch_layout, torch_state
from cifarzoo.conversion.torch_writer import write_state_dict
from cifarzoo.data.statistics import STATISTICS as OURS
from cifarzoo.errors import CifarzooError
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.marked_table import with_table
from cifarzoo.models.registry import build_described
from cifarzoo.pretrained.description import description_of

HERE = Path(__file__).parent
RESULTS = HERE / "agreement.json"
MARKS = ("<!-- begin agreement -->", "<!-- end agreement -->")
TOLERANCE = 1e-4
IMAGES = 4
KERAS_2 = " (Keras 2)"


def cases(patterns: list[str], skip: list[str], only_classes: int | None) -> list[Entry]:
    """Return one entry per source, architecture and number of classes, the smallest networks first."""
    chosen: dict[tuple, Entry] = {}
    for entry in entries().values():
        network = (entry.source, entry.layout, entry.factory, json.dumps(entry.arguments))
        for classes in (10, 100):
            key = (*network, classes)
            # The source's own entry for this number of classes, which has its own statistics, takes precedence.
            if key not in chosen or (chosen[key].remark == "other" and entry.classes == classes):
                own = entry.classes == classes
                chosen[key] = replace(entry, classes=classes, remark="" if own else "other")
    names = lambda entry: [entry.name, f"{entry.factory}/{entry.classes}"]  # noqa: E731
    selected = [
        entry
        for entry in chosen.values()
        if (not patterns or any(fnmatch.fnmatch(n, p) for n in names(entry) for p in patterns))
        and not any(fnmatch.fnmatch(n, p) for n in names(entry) for p in skip)
        and only_classes in (None, entry.classes)
    ]
    return sorted(selected, key=lambda entry: entry.trainable or 0)


def our_model(entry: Entry, is_deep: bool):
    with arithmetic("float64" if is_deep else "float32"):
        return build_described(describe(entry))


def entry_statistics(entry: Entry):
    """Return the table's mean and deviation on 0-1, for sources whose statistics are per entry."""
    if entry.statistics == "lasagne":
        from cifarzoo import load_data

        return load_data("cifar10").train.images.mean(axis=0, dtype="float64") / 255, 1.0
    if isinstance(entry.statistics, str):
        mean, std = STATISTICS.get(entry.statistics) or [np.divide(value, 255) for value in OURS[entry.statistics]]
        return mean, std
    return [np.divide(entry.statistics[key], 255) for key in ("mean", "std")]


def difference(model, expected, images):
    """Return the largest difference of the logits, relative to the largest logit."""
    logits = np.asarray(model(images.astype(model.layers[-1].compute_dtype), training=False))
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def fill(model, entry: Entry, path: Path) -> None:
    checkpoint = read_checkpoint(path)
    convert(model, state_of(checkpoint), LAYOUTS[entry.layout_of(checkpoint.format)], entry.epsilon)


def written_back(model, entry: Entry, images, folder: Path) -> float:
    """Return the difference of the logits when the project's network loads, strictly, what we write for PyTorch."""
    description = description_of(model)
    path = folder / "written.pt"
    write_state_dict(path, torch_state(model, torch_layout(model, description, entry.layout)))
    other = reference(entry, seed=1)
    without_input_statistics(other.network).load_state_dict(torch.load(path, weights_only=True), strict=True)
    return difference(model, other.logits(images, entry_statistics(entry)), images)


def keras2_file(entry: Entry, images, folder: Path):
    """Let a process with Keras 2 draw a network and save it; return the path and its logits."""
    statistics = STATISTICS["kuangliu"]
    inputs = np.concatenate([normalized(random_images(16, 1), statistics), normalized(images, statistics)])
    np.save(folder / "images.npy", inputs.transpose(0, 2, 3, 1))
    weights = folder / ("weights.h5" if entry.source == "osmr" else "weights.tf")
    arguments = [entry.name, entry.classes, folder / "images.npy", folder / "logits.npy", weights]
    command = [sys.executable, HERE / "keras2_networks.py", *arguments]
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
    run = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr[-500:])
    return weights, np.load(folder / "logits.npy")


def compare(entry: Entry, done: dict, redo: bool, only: str | None) -> dict[str, dict]:
    """Compare one network in all formats; return results by key."""
    key = lambda form: f"{entry.name}|{entry.classes}|{form}"  # noqa: E731
    wanted = [form for form in forms(entry) if redo or done.get(key(form), {}).get("difference", 1) > TOLERANCE]
    wanted = [form for form in wanted if only in (None, form)]
    if not wanted:
        return {}
    images, results = random_images(IMAGES, seed=7), {}
    source = reference(entry)
    model = our_model(entry, source.is_deep)
    expected = source.logits(images, entry_statistics(entry))
    with tempfile.TemporaryDirectory() as folder:
        for form in wanted:
            start = time.perf_counter()
            try:
                if form == "to PyTorch":
                    fill(model, entry, source.savers["torch"](Path(folder, "file.torch"), source.network))
                    result = written_back(model, entry, images, Path(folder))
                elif form.endswith(KERAS_2):
                    path, logits = keras2_file(entry, images, Path(folder))
                    fill(model, entry, path)
                    result = difference(model, logits, images)
                else:
                    fill(model, entry, source.savers[form](Path(folder, f"file.{form}"), source.network))
                    result = difference(model, expected, images)
            except (CifarzooError, RuntimeError) as failure:
                print(f"{key(form)}: {failure}"[:300], flush=True)
                continue
            seconds = round(time.perf_counter() - start, 1)
            results[key(form)] = {"difference": result, "parameters": model.count_params(), "seconds": seconds}
    return results


def forms(entry: Entry) -> list[str]:
    """Return the formats to compare: the table's, those that Keras 2 writes if it is there, and back to PyTorch."""
    published = list(dict.fromkeys(files[0].format for files in entry.files))
    result = [form for form in published if form != "keras"]
    libraries = {"keras": ("tf_keras", "tf2cv"), "tensorflow": ("tf_keras",)}
    available = [name for name, needed in libraries.items() if all(map(importlib.util.find_spec, needed))]
    result += [f"{form}{KERAS_2}" for form in published if form in available]
    # timm calls the classifier of VGG otherwise than the code whose names we write.
    if entry.layout in TARGETS and (entry.source, entry.layout) != ("edadaltocg", "vgg_torch"):
        result.append("to PyTorch")
    return result


def read_results() -> dict[str, dict]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def table(results: dict[str, dict]) -> str:
    """Return a summary, and one row per network and format, with both numbers of classes."""
    rows: dict[tuple, dict[int, dict]] = {}
    for key, result in results.items():
        name, classes, form = key.split("|")
        source, network = name.split("/", 1)
        network = network.removesuffix("_cifar10").removesuffix("_cifar100")
        for prefix in ("cifar10_", "cifar100_"):
            network = network.removeprefix(prefix)
        rows.setdefault((source, network, form), {})[int(classes)] = result
    worst = max(results, key=lambda key: results[key]["difference"])
    largest = results[worst]["difference"]
    left = [
        f"{entry.name} ({entry.classes})"
        for entry in cases([], [], None)
        if not any(key.startswith(f"{entry.name}|{entry.classes}|") for key in results)
    ]
    lines = [
        f"{len(results)} comparisons; the largest difference is {largest:.1e}, {worst.split('|')[0]}.",
        f"Not compared yet: {', '.join(left)}." if left else "Nothing is left out.",
        "",
    ]
    lines += ["| source | network | format | 10 classes | 100 classes |", "| --- | --- | --- | ---: | ---: |"]
    for (source, network, form), by_classes in sorted(rows.items()):
        cells = [by_classes.get(classes, {}) for classes in (10, 100)]
        texts = [f"{c['difference']:.1e}" if c else "" for c in cells]
        lines.append(f"| {source} | {network} | {form} | {texts[0]} | {texts[1]} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--classes", type=int)
    parser.add_argument("--skip", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--format", help="compare only this format")
    parser.add_argument("--redo", action="store_true")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    selected = cases(arguments.patterns, arguments.skip, arguments.classes)
    if arguments.list:
        for entry in selected:
            print(entry.name, entry.classes, entry.trainable, entry.factory, entry.arguments)
        return
    for entry in selected:
        start = time.perf_counter()
        try:
            results = compare(entry, read_results(), arguments.redo, arguments.format)
        except CifarzooError as failure:
            print(f"{entry.name}|{entry.classes}: {failure}"[:200], flush=True)
            continue
        for key, result in results.items():
            bad = "" if result["difference"] <= TOLERANCE else "  <-- differs"
            print(f"{key:70} {result['difference']:.1e}{bad}", flush=True)
        if results:
            print(f"{'':70} {time.perf_counter() - start:.1f} s", flush=True)
            RESULTS.write_text(
                json.dumps(dict(sorted((read_results() | results).items())), indent=1) + "\n", encoding="utf-8"
            )
    page = HERE / "README.md"
    page.write_text(with_table(page, MARKS, table(read_results())), encoding="utf-8")


if __name__ == "__main__":
    main()
