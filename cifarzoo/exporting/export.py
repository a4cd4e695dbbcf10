"""`cifarzoo.export`: write a model in another format, and check the file before it gets its name."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.errors import CifarzooError, ExportError, summarize
from cifarzoo.evaluation.evaluate import predict
from cifarzoo.evaluation.load_model import LoadedModel, load_model, of_model
from cifarzoo.exporting.check import COMPARED_IMAGES, compare, outputs
from cifarzoo.exporting.formats import STATE_DICT, Format, format_named
from cifarzoo.exporting.images import TestImages, images_for
from cifarzoo.exporting.metadata import facts_of
from cifarzoo.exporting.other_backend import write_elsewhere
from cifarzoo.keras_internals.model_graph import computes_in
from cifarzoo.keras_internals.redirection import quiet
from cifarzoo.metrics import classification_metrics
from cifarzoo.pretrained.description import description_of
from cifarzoo.training.build import check_is_functional

# Called with the name of the next step and the fraction done, from 0 to 1.
Progress = Callable[[str, float], None]


def export(
    model: "str | os.PathLike | keras.Model",
    to: str,
    out: str | os.PathLike | None = None,
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
    weights: str | None = None,
    arguments: dict[str, Any] | None = None,
    layout: str | None = None,
    class_names: Sequence[str] | None = None,
    progress: Progress = lambda step, done: None,
) -> dict[str, Any]:
    """Write a model in a format that opens without cifarzoo, and check the file.

    What the file computes for 1,000 test images is compared with the model: the outputs agree to 1e-4 of the largest,
    and every image gets the same class. In int8, which computes something else on purpose, the errors of both on all
    test images are measured; its ranges come from 500 training images. The file gets its name only after the check.

    Args:
        model: A Keras model with one input of images [n, height, width, 3]; or what `cifarzoo evaluate` takes: the name
            of a model, a tag, a file, or the folder of a run.
        to: "savedmodel", "onnx", "litert", "litert-int8", "openvino" or "torch". The last is a program, OUT.pt2, which
            runs with PyTorch alone, or a state dict, OUT.pth, for another project's code; see `state_dict`.
        out: The file, or the folder of a SavedModel; one that exists is replaced. Default: the model's name with the
            format's ending, in the working directory, unless that exists.
        dataset: The images to check it with; see `cifarzoo evaluate --dataset`. Default: those of the data set that it
            was trained on if they are on this machine, else the embedded ones.
        data_dir: Folder of the official archives.
        weights: For the name of a model, tag or path of its weights.
        arguments: For the name of a model, arguments of its factory.
        layout: For a PyTorch state dict, whose code's names it gets: a key map such as "pytorchcv". Default: the first
            that holds the network.
        class_names: Names of the classes, for the metadata. Default: those that the weights record, else those of
            the data set that they were trained on.
        progress: Called with the name of the next step and the fraction done, from 0 to 1.

    Returns:
        `path`, `format`, `model`, `bytes` (of all files), `dataset` (of the images), `replaces` (the data set that it
        stands in for, or ""), what `check.compare` returns, `metadata` (what the file says about itself), and, for int8
        and images of the data set that the network is for, `error` and `error_before` in percent on all test images.
        Where only the number of outputs suggests that data set, `dataset` has to name it.

    Raises:
        ExportError: a package is missing, the format does not fit the model, the file computes something else, or it
            cannot be written.
        CifarzooError: as `load_model` and `images_for`.
    """
    chosen = format_named(to, os.fspath(out or ""))
    if layout is not None and chosen is not STATE_DICT:
        raise ExportError(f"--layout {layout}: names the weights of a state dict; use --to torch and OUT.pth")
    name = model.name if isinstance(model, keras.Model) else os.fspath(model)
    target = _target(name, chosen, out)
    module = chosen.load()
    progress(f"load {name}", 0)
    loaded = _loaded(model, weights, arguments)
    _check_model(loaded, chosen)
    images = images_for(loaded, dataset, data_dir)
    _check_calibration(loaded, chosen, images)
    facts = facts_of(loaded, class_names) | ({"layout": layout} if layout else {})
    with _temporary_folder(target) as folder:
        written = folder / target.name
        progress(f"write {target.name}", 0.2)
        _write(chosen, loaded, written, facts, images.calibration if chosen.quantized else None)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        result = _check(module.runner, loaded, written, images, chosen, progress)
        _move(folder, target)
    row = {"path": str(target), "format": to, "model": facts["model"], "bytes": size}
    return row | {"dataset": images.name, "replaces": images.replaces} | result | {"metadata": facts}


def _target(name: str, chosen: Format, out: str | os.PathLike | None) -> Path:
    """Return the path to write, before any work is done for it.

    Raises:
        ExportError: nobody named it, and it exists; its ending is not the format's; its folder does not exist; or it is
            something else than what the format would replace.
    """
    stem = Path(name).name.removesuffix(".weights.h5").removesuffix(".keras")
    target = Path(f"{stem}{chosen.ending}" if out is None else out)
    if out is None and target.exists():
        raise ExportError(f"{target}: exists; name the file to write, which is then replaced")
    if not target.name.endswith(chosen.ending):
        raise ExportError(f"{target}: the name of a file for --to {chosen.name} ends in {chosen.ending}")
    if not target.parent.is_dir():
        raise ExportError(f"{target}: there is no folder {target.parent}")
    if chosen.ending and target.is_dir():
        raise ExportError(f"{target}: is a folder; name a file that ends in {chosen.ending}")
    if not chosen.ending and target.exists() and not (target / "saved_model.pb").is_file() and not _is_empty(target):
        raise ExportError(f"{target}: exists and is not a SavedModel; name another folder")
    return target


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _loaded(model: Any, weights: str | None, arguments: dict[str, Any] | None) -> LoadedModel:
    if not isinstance(model, keras.Model):
        return load_model(os.fspath(model), weights, arguments)
    if weights or arguments:
        raise ExportError(f"{model.name}: weights and arguments go with the name of a model")
    check_is_functional(model, model.name)
    return of_model(model)


def _check_model(loaded: LoadedModel, chosen: Format) -> None:
    """Raise ExportError unless the format can hold the model."""
    shape = loaded.model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3 or None in shape[1:]:
        raise ExportError(f"{loaded.name}: takes {shape}; expected one input of images (None, height, width, 3)")
    for dtype in ("bfloat16", "float16"):
        if computes_in(loaded.model, dtype):
            raise ExportError(f"{loaded.name}: computes in {dtype}; export the model in float32")
    description = description_of(loaded.model)
    if chosen.quantized and description is not None and description.statistics is None:
        raise ExportError(
            f"{loaded.name}: takes normalized images, but int8 is calibrated on raw pixels; build the model with "
            "include_preprocessing=True"
        )


def _check_calibration(loaded: LoadedModel, chosen: Format, images: TestImages) -> None:
    """Raise ExportError if the embedded images would calibrate an int8 file without being asked for."""
    if chosen.quantized and images.replaces:
        download = f"--dataset {images.replaces} downloads it, " if images.replaces in CLASS_NAMES else ""
        raise ExportError(
            f"{loaded.name}: int8 takes its ranges from training images of {images.replaces}, which is not on this "
            f"machine; {download}--dataset FOLDER takes other images, --dataset synthetic the embedded ones"
        )


@contextlib.contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside the target, which is removed at the end with what is left in it."""
    try:
        folder = tempfile.mkdtemp(prefix=".exporting-", dir=target.parent)
    except OSError as failure:
        raise ExportError(f"{target}: cannot be written ({failure.strerror or failure})") from None
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _only_warnings(name: str) -> Iterator[None]:
    """Drop what a logger of Python says below warnings; TensorFlow's says in notebooks where it writes its files."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def _write(chosen: Format, loaded: LoadedModel, path: Path, facts: dict[str, Any], calibration: Any) -> None:
    with quiet(), _only_warnings("tensorflow"):
        try:
            if chosen.backend in (None, keras.backend.backend()):
                chosen.load().write(loaded.model, path, facts, calibration)
            else:
                write_elsewhere(chosen, loaded.model, path, facts, calibration)
        except CifarzooError as failure:
            raise ExportError(f"{loaded.name}: cannot be written in this format ({failure})") from None
        except Exception as failure:  # converters raise whatever an operation led to
            raise ExportError(f"{loaded.name}: cannot be written in this format ({summarize(failure)})") from failure


def _check(
    runner: Any, loaded: LoadedModel, path: Path, images: TestImages, chosen: Format, progress: Progress
) -> dict[str, Any]:
    measured = chosen.quantized and images.labels is not None
    tested = images.images if measured else images.images[:COMPARED_IMAGES]
    expected = predict(loaded.model, tested, progress=lambda done: progress("the model's outputs", 0.5 + 0.25 * done))
    with quiet():
        try:
            run = runner(path)
            outputs(run, tested[:1])  # some runtimes prepare only now
            actual = outputs(run, tested, lambda done: progress("the file's outputs", 0.75 + 0.25 * done))
        except Exception as failure:  # runtimes have their own kinds of errors
            raise ExportError(f"{loaded.name}: the file does not run ({summarize(failure)})") from failure
    try:
        result = compare(expected, actual, exact=not chosen.quantized)
    except ExportError as failure:
        raise ExportError(f"{loaded.name}: {failure}") from None
    if measured and images.labels is not None and expected.ndim == 2:
        result |= {
            "error": classification_metrics(actual, images.labels)["error"],
            "error_before": classification_metrics(expected, images.labels)["error"],
        }
    return result


def _move(folder: Path, target: Path) -> None:
    """Give what is in a folder the target's name, in place of what was there."""
    try:
        for path in sorted(folder.iterdir(), key=lambda path: path.name == target.name):  # weights before the network
            final, old = target.with_name(path.name), None
            if final.is_dir():
                old = final.rename(folder / f"old-{final.name}")
            try:
                path.replace(final)
            except OSError:
                if old:
                    old.rename(final)
                raise
    except OSError as failure:
        raise ExportError(f"{target}: cannot be written ({failure.strerror or failure})") from None
