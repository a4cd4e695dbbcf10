"""Measure the sharpness of a model on parts of a data set, as rows of a table."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cifarzoo.data import Dataset, Split
from cifarzoo.errors import DataError, ModelError
from cifarzoo.evaluation.fit import check_shapes
from cifarzoo.evaluation.sharpness.estimators import TRACES, epsilon_sharpness, estimate_traces, largest_eigenvalue
from cifarzoo.evaluation.sharpness.loss_function import LossFunction
from cifarzoo.runs.tables import format_tsv

MEASURES = (*TRACES, "largest_eigenvalue", "epsilon_sharpness")
NORMALIZATIONS = ("mean", "sum", "parameters")


def select_images(dataset: Dataset, part: str, batch_size: int = 1000, seed: int = 0) -> Split:
    """Return the images of a split, or for "batch" random training images in random order, without repetition.

    Raises:
        DataError: the split does not exist, or has fewer images than `batch_size`.
    """
    if part != "batch":
        return dataset.split(part)
    if not 1 <= batch_size <= len(dataset.train):
        raise DataError(f"batch_size {batch_size} does not fit the {len(dataset.train)} training images")
    return dataset.train.take(np.random.default_rng(seed).permutation(len(dataset.train))[:batch_size])


def measure(
    model: keras.Model,
    dataset: Dataset,
    on: Iterable[str] = ("batch",),
    measures: Iterable[str] = MEASURES,
    normalization: str = "mean",
    precision: float = 0.05,
    max_products: int = 2000,
    batch_size: int = 1000,
    epsilon: float = 1e-3,
    seed: int = 0,
    progress: Callable[[str, float], None] = lambda step, done: None,
    **options: Any,
) -> list[dict]:
    """Measure the sharpness of a model on parts of a data set.

    Args:
        model: Returns logits of the data set's classes.
        dataset: The images, not augmented.
        on: Parts: "batch", "train", "test", "train45k" or "validation". All images of a part count.
        measures: Some of `MEASURES`.
        normalization: Scale of traces and eigenvalue. "mean": loss, Fisher matrix and NTK are means over images. "sum":
            sums over images, with the weight-decay term once per image. "parameters": the traces of "mean" divided by
            the number of parameters, so that a trace is a mean eigenvalue; the largest eigenvalue is that of "mean".
        precision: Relative standard error of a trace, and relative residual of the eigenvalue, at which to stop.
        max_products: Approximate limit on calls on a chunk of images, per measure.
        batch_size: Images of "batch".
        epsilon: Relative size of epsilon-sharpness' box.
        seed: Seed of the batch, the probes and Lanczos' start vector.
        progress: Called with the name of the next step and the fraction of the parts done, from 0 to 1.
        options: Further arguments of `LossFunction`: loss, weight_decay, decay_all, batch_norm, chunk.

    Returns:
        One row per part and measure: on, images, measure, value, standard_error, products, converged, seconds (of the
        call, compilation included; the traces share one call).

    Raises:
        DataError: a part does not exist, the model does not fit the data set, or a value is not finite.
        ModelError: another argument is invalid.
    """
    measures = list(measures)
    if unknown := [name for name in measures if name not in MEASURES]:
        raise ModelError(f"measure {unknown[0]!r} does not exist; the measures are {', '.join(MEASURES)}")
    if normalization not in NORMALIZATIONS:
        raise ModelError(f"normalization {normalization!r} does not exist; expected {', '.join(NORMALIZATIONS)}")
    check_shapes(model, dataset, model.name)
    rows = []
    parts = {part: select_images(dataset, part, batch_size, seed) for part in on}
    loss_function = None
    for number, (part, split) in enumerate(parts.items()):
        progress(f"compile for {part}", number / len(parts))
        images = split.images, split.labels
        loss_function = loss_function.over(*images) if loss_function else LossFunction(model, *images, **options)
        scale = {"mean": 1, "sum": len(loss_function), "parameters": 1 / loss_function.parameters}[normalization]
        tasks: list[tuple[Callable, tuple, float]] = []
        if traces := [name for name in measures if name in TRACES]:
            tasks.append((estimate_traces, (traces, precision, max_products, seed), scale))
        if "largest_eigenvalue" in measures:
            largest = scale if normalization == "sum" else 1
            tasks.append((largest_eigenvalue, (precision, max_products, seed), largest))
        if "epsilon_sharpness" in measures:
            tasks.append((epsilon_sharpness, (epsilon,), 1))
        for position, (task, arguments, factor) in enumerate(tasks):
            progress(f"{task.__name__} on {part}", (number + position / len(tasks)) / len(parts))
            started = time.perf_counter()
            estimates = task(loss_function, *arguments)
            seconds = round(time.perf_counter() - started, 2)
            if not isinstance(estimates, dict):
                estimates = {task.__name__: estimates}
            for name, estimate in estimates.items():
                estimate = estimate.scaled(factor)
                rows.append(
                    {
                        "on": part,
                        "images": len(loss_function),
                        "measure": name,
                        "value": estimate.value,
                        "standard_error": _or_none(estimate.standard_error),
                        "products": estimate.products,
                        "converged": estimate.converged,
                        "seconds": seconds,
                    }
                )
    return rows


def _or_none(error: float) -> float | None:
    """Return a standard error, or None if too few samples leave it unknown."""
    return error if error is not None and np.isfinite(error) else None


def format_rows(rows: list[dict], number: str = "") -> str:
    """Format rows of equal columns as tab-separated text with a header line; `number` is the format of floats."""

    def cell(value: Any) -> str:
        return "" if value is None else format(value, number) if isinstance(value, float) else str(value)

    return format_tsv(rows[0], [[cell(value) for value in row.values()] for row in rows])


def write_rows(rows: list[dict], path: Path, number: str = "") -> None:
    """Write what `format_rows` returns.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(format_rows(rows, number) + "\n", encoding="utf-8")
    except OSError as failure:
        raise DataError(f"{path}: cannot be written ({failure})") from None
