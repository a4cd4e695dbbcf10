"""Import other projects' checkpoints, and measure them on all test images."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras

from cifarzoo._version import __version__
from cifarzoo.checksum import sha256
from cifarzoo.conversion.cache import fresh_model, weight_file
from cifarzoo.conversion.entries import Entry
from cifarzoo.conversion.guess import convert_file, parse_call
from cifarzoo.conversion.layouts import layout_named
from cifarzoo.conversion.readers import files_of
from cifarzoo.conversion.to_torch import torch_layout, torch_state
from cifarzoo.conversion.torch_writer import write_state_dict
from cifarzoo.data import load
from cifarzoo.data.classes import CLASS_NAMES, dataset_with
from cifarzoo.data.statistics import PER_PIXEL, channel_statistics, statistics_from
from cifarzoo.errors import DataError, ModelError, WeightsError, printable, summarize
from cifarzoo.evaluation.evaluate import Progress, evaluate
from cifarzoo.evaluation.load_model import LoadedModel
from cifarzoo.models import registry
from cifarzoo.models.load import load as load_weights
from cifarzoo.pretrained.description import Description, description_of, read_description, save_weights
from cifarzoo.runs import atomic

# Of a network without normalisation inside.
UNKNOWN_INPUT = "what the network was trained with; the file does not say"


def import_checkpoint(
    entry: Entry,
    file: Path | None = None,
    measure: bool = False,
    data_dir: str | None = None,
    progress: Progress = lambda step, done: None,
    again: bool = True,
) -> dict[str, Any]:
    """Convert a checkpoint, downloading it if necessary.

    Args:
        entry: Its entry in the table.
        file: The checkpoint, if the user already has it.
        measure: Whether to measure the error on all test images.
        data_dir: Folder of the archives, to measure.
        progress: Called with the name of the step and the fraction done, from 0 to 1.
        again: Whether to measure again what was measured before; the result lies beside the weight file.

    Returns:
        `name`, `path` of the weight file, `model`, `dataset`, `statistics`, `license`, `homepage`, `sha256` of each
        file of the source, `verified` (how, in words), `content_sha256` of the converted weights, `reported_error` and
        how it came about (`selection`, `protocol`), `remark`; with `measure` also `error`, `images` and `backend`.

    Raises:
        CifarzooError: the checkpoint cannot be had, does not fit, or cannot be measured.
    """
    half = 0.5 if measure else 1.0

    def arrived(count: int, expected: int | None) -> None:
        progress(f"download {entry.name}", half * count / expected if expected else 0)

    progress(f"convert {entry.name}", 0)
    path = weight_file(entry, registry.build_described, file, arrived)
    description = read_description(path)
    source = description.source if description and isinstance(description.source, dict) else {}
    row: dict[str, Any] = {
        "name": entry.name,
        "path": str(path),
        "model": str(description),
        "dataset": entry.dataset,
        "statistics": entry.statistics,
        "license": entry.license,
        "homepage": entry.homepage,
        "sha256": list(source.get("files", {}).values()),
        "verified": source.get("verified"),
        "content_sha256": source.get("content_sha256"),
        "reported_error": entry.error,
        "selection": entry.selection,
        "protocol": entry.protocol,
        "remark": entry.remark,
    }
    if measure:
        of = {"content_sha256": row["content_sha256"], "backend": keras.backend.backend(), "version": __version__}
        kept = path.with_name(f"{path.name}.error.json")
        result = None if again else _kept(kept, of)
        if result is None:
            dataset = load(entry.dataset, data_dir)
            metrics, _ = evaluate(
                LoadedModel(load_weights(path), entry.dataset, entry.name),
                dataset,
                progress=lambda done: progress(f"measure {entry.name}", half + (1 - half) * done),
            )
            result = {"error": round(metrics["error"], 4), "images": metrics["n"], "backend": of["backend"]}
            atomic.write_text(kept, json.dumps({"of": of, "result": result}, indent=2))
        row |= result
    return row


def _kept(path: Path, of: dict[str, Any]) -> dict[str, Any] | None:
    """Return a result that was measured before, or None if there is none of the same weights on the same backend."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["result"] if kept["of"] == of else None
    except (OSError, ValueError, LookupError, TypeError):  # there is none, or it is damaged
        return None


def import_all(
    entries: Sequence[Entry],
    measure: bool = False,
    data_dir: str | None = None,
    progress: Progress = lambda step, done: None,
) -> Iterator[dict[str, Any]]:
    """Import several checkpoints; one that fails does not stop the others. What is in the cache is neither made nor
    measured again.

    Keras forgets the models that it built before.

    Yields:
        What `import_checkpoint` returns, or `name`, `reported_error`, `selection` and `failure`, why there is no more.
    """
    for number, entry in enumerate(entries):

        def show(step: str, done: float, number: int = number) -> None:
            progress(f"{step} ({number + 1} of {len(entries)})", (number + done) / len(entries))

        keras.utils.clear_session()  # the networks before this one, of up to 37 million parameters each
        try:
            yield import_checkpoint(entry, None, measure, data_dir, show, again=False)
        except Exception as failure:  # the memory may suffice for the others
            yield {
                "name": entry.name,
                "dataset": entry.dataset,
                "reported_error": entry.error,
                "selection": entry.selection,
                "failure": summarize(failure),
            }


def convert_checkpoint(
    path: Path,
    call: str,
    statistics: Any,
    layout: str | None = None,
    epsilon: float | None = None,
    dataset: str | None = None,
    out: Path | None = None,
    part: str | None = None,
) -> dict[str, Any]:
    """Convert a checkpoint that is in no table.

    Args:
        path: The checkpoint.
        call: The model that it holds, as Python code.
        statistics: What normalises its input; see `statistics_from`.
        layout: Name of the key map. Default: the first that fits.
        epsilon: BatchNormalization's epsilon in the other network. Default: that of the key map's code.
        dataset: What it was trained on, a key of `CLASS_NAMES`. Default: the data set with as many classes.
        out: The weight file. Default: the checkpoint's name with another ending, in the working directory, unless
            there is such a file.
        part: Name of the dictionary in the file that the network is in, such as "ema". Default: see `state.NETWORKS`.

    Returns:
        `path`, `model`, and the fields of `guess.Fit`.

    Raises:
        CifarzooError: there is no such model, or the checkpoint does not fit it; or there is a file that it would
            replace.
    """
    if dataset not in (None, *CLASS_NAMES):
        raise DataError(f"--dataset {printable(str(dataset))}: expected one of {', '.join(CLASS_NAMES)}")
    name, arguments = parse_call(call)
    wanted = registry.get(name)
    if unknown := set(arguments) - {*wanted.architecture({}), "classes"}:
        raise ModelError(f"--model: {wanted.name} has no argument {', '.join(sorted(unknown))}")
    described = Description(
        factory=wanted.name,
        arguments={key: value for key, value in arguments.items() if key != "classes"},
        classes=arguments.get("classes", 10),
        statistics=statistics_from(statistics),
    )
    target = _target(path, ".weights.h5", out)
    with fresh_model(described, registry.build_described) as model:
        fit = convert_file(path, model, layout, epsilon, part)
        hashes = {file.name: sha256(file) for file in files_of(path)}
        source = {"files": hashes, "layout": fit.layout, "epsilon": fit.epsilon, "part": part}
        trained = dataset or dataset_with(model.output_shape[-1])
        complete = replace(description_of(model) or described, dataset=trained, source=source)
        save_weights(model, target, complete)
    return {"path": str(target), "model": str(complete)} | asdict(fit)


def write_torch(name: str, layout: str | None = None, out: Path | None = None) -> dict[str, Any]:
    """Write a PyTorch state dict of weights that are in our format.

    Args:
        name: A `.weights.h5` file, a tag, or the name of another project's checkpoint.
        layout: Name of the key map, one of `to_torch.TARGETS`. Default: the first that holds the model.
        out: The file. Default: the name with the ending .pth, in the working directory, unless there is such a file.

    Returns:
        `path`, `model`, `layout`, `code` (whose names they are), `tensors` (their number), and what the PyTorch network
        takes: `mean` and `std` on 0-1, or else `input`, in words.

    Raises:
        CifarzooError: there are no such weights, or the other code has no such network; or there is a file that it
            would replace.
    """
    target = _target(Path(name), ".pth", out)
    model = load_weights(name)
    description = description_of(model)
    if description is None or description.factory is None:
        raise WeightsError(f"{name}: not a network of the zoo")
    chosen = torch_layout(model, description, layout)
    state = torch_state(model, chosen)
    write_state_dict(target, state)
    row: dict[str, Any] = {"path": str(target), "model": str(description), "layout": chosen, "tensors": len(state)}
    row |= {"code": layout_named(chosen).code, "mean": None, "std": None, "input": UNKNOWN_INPUT}
    if description.statistics == PER_PIXEL:
        row["input"] = "pixel / 255, minus the mean image of CIFAR-10's training images"
    elif description.statistics is not None:
        mean, std = channel_statistics(description.statistics)
        rounded = {"mean": [round(value / 255, 6) for value in mean], "std": [round(value / 255, 6) for value in std]}
        row |= rounded | {"input": "normalised"}
    return row


def _target(path: Path, ending: str, out: Path | None) -> Path:
    """Return the file to write, before any work is done for it: `out`, or the name with another ending.

    Raises:
        WeightsError: the user did not name it, and it exists; it is the file to read, or a folder; its ending is not
            that of a weight file; or its folder does not exist.
    """
    # The names of tags and of other projects' checkpoints may have dots of their own.
    own = path.name.removesuffix(".weights.h5")
    stem = path.stem if own == path.name and ending == ".weights.h5" else own
    target = out or Path(f"{stem}{ending}")
    if out is None and target.exists():
        raise WeightsError(f"{target}: exists; name the file to write with --out")
    if ending == ".weights.h5" and not target.name.endswith(ending):
        raise WeightsError(f"{target}: the name of a weight file ends in {ending}")
    if target.is_dir():
        raise WeightsError(f"{target}: is a folder; name a file with --out")
    if not target.parent.is_dir():
        raise WeightsError(f"{target}: there is no folder {target.parent}")
    if path.exists() and target.exists() and target.samefile(path):
        raise WeightsError(f"{target}: is the file to read; name another with --out")
    return target
