"""Sharpness of a model on parts of a data set, as rows of a table."""

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cifarzoo.data import Dataset, Split
from cifarzoo.errors import DataError, ModelError
from cifarzoo.evaluation.evaluate import check_shapes, predict
from cifarzoo.evaluation.sharpness.estimators import TRACES, epsilon_sharpness, estimate_traces, largest_eigenvalue
from cifarzoo.evaluation.sharpness.loss_function import LossFunction

MEASURES = (*TRACES, "largest_eigenvalue", "epsilon_sharpness")
NORMALIZATIONS = ("mean", "sum", "parameters")
CIFAR_JAX_COLUMNS = (
    "acc_tr",
    "acc_te",
    "tr_hess_batch",
    "tr_hess_dataset",
    "tr_ntk_batch",
    "tr_ntk_dataset",
    "tr_hess_dataset_te",
    "tr_ntk_dataset_te",
)


def select_images(dataset: Dataset, part: str, batch_size: int = 1000, seed: int = 0) -> Split:
    """The images of a split, or "batch": random training images in random order, without repetition."""
    if part != "batch":
        return dataset.split(part)
    if not 1 <= batch_size <= len(dataset.train):
        raise DataError(f"batch_size {batch_size} does not fit the {len(dataset.train)} training images")
    return dataset.train.take(np.random.default_rng(seed).permutation(len(dataset.train))[:batch_size])


def measure(
    model,
    dataset: Dataset,
    on: Iterable[str] = ("batch",),
    measures: Iterable[str] = MEASURES,
    normalization: str = "mean",
    precision: float = 0.05,
    max_products: int = 2000,
    batch_size: int = 1000,
    epsilon: float = 1e-3,
    seed: int = 0,
    **options,
) -> list[dict]:
    """Sharpness of a model on parts of a data set.

    Args:
        model: Gives logits of the data set's classes.
        dataset: The images, not augmented.
        on: Parts: "batch", "train", "test", "train45k" or "validation"; always all images of a part.
        measures: Some of `MEASURES`.
        normalization: Of traces and eigenvalue: "mean" over images of loss, Fisher and NTK; "sum" over images, the
            weight-decay term as often; or "parameters", the mean divided by their number, which makes a trace the mean
            eigenvalue and leaves the largest one as it is.
        precision: Relative standard error of a trace, and relative residual of the eigenvalue, to reach.
        max_products: For each measure at most about so many calls on a chunk of images.
        batch_size: Of "batch".
        epsilon: Of epsilon-sharpness.
        seed: Of the batch, the probes and Lanczos' start vector.
        options: Further arguments of `LossFunction`: loss, weight_decay, decay_all, batch_norm, chunk.

    Returns:
        A row for each part and measure: on, images, measure, value, standard_error, products, converged, seconds (of
        the call that gave it, compilation included; traces share one).

    Raises:
        DataError: an unknown part, the model's outputs are not the data set's classes, or something is not finite.
        ModelError: another argument does not exist.
    """
    measures = list(measures)
    if unknown := [name for name in measures if name not in MEASURES]:
        raise ModelError(f"measure {unknown[0]!r} does not exist; the measures are {', '.join(MEASURES)}")
    if normalization not in NORMALIZATIONS:
        raise ModelError(f"normalization is one of {', '.join(NORMALIZATIONS)}, got {normalization!r}")
    check_shapes(model, dataset, model.name)
    rows = []
    parts = {part: select_images(dataset, part, batch_size, seed) for part in on}
    loss_function = None
    for part, split in parts.items():
        images = split.images, split.labels
        loss_function = loss_function.over(*images) if loss_function else LossFunction(model, *images, **options)
        scale = {"mean": 1, "sum": len(loss_function), "parameters": 1 / loss_function.parameters}[normalization]
        tasks = []
        if traces := [name for name in measures if name in TRACES]:
            tasks.append((estimate_traces, (traces, precision, max_products, seed), scale))
        if "largest_eigenvalue" in measures:
            largest = scale if normalization == "sum" else 1
            tasks.append((largest_eigenvalue, (precision, max_products, seed), largest))
        if "epsilon_sharpness" in measures:
            tasks.append((epsilon_sharpness, (epsilon,), 1))
        for task, arguments, factor in tasks:
            started = time.perf_counter()
            found = task(loss_function, *arguments)
            seconds = round(time.perf_counter() - started, 2)
            for name, estimate in (found if isinstance(found, dict) else {task.__name__: found}).items():
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


def _or_none(error):
    """A standard error, None where too few samples leave it unknown."""
    return error if error is not None and np.isfinite(error) else None


def cifar_jax_row(
    model,
    dataset: Dataset,
    batch_size: int = 10_000,
    devices: int = 1,
    weight_decay: float = 5e-4,
    precision: float = 0.05,
    max_products: int = 2000,
    seed: int = 0,
    chunk: int = 125,
) -> dict[str, float]:
    """The columns of `sharpness.tsv` of https://github.com/sungyubkim/cifar_jax, on its scales.

    There the loss is the squared one plus weight decay of all parameters, BatchNormalization uses its moving
    statistics, and Hessian traces, although of a mean loss, are divided once more by the images that one device has of
    a batch. NTK traces are means over images. Here all images count, and probes are drawn until the precision is
    reached instead of 100 times. `measure` says what the arguments are and what is raised.

    Args:
        model: Gives logits.
        dataset: The images.
        batch_size: Of its evaluation; less where there are fewer training images.
        devices: Over how many devices it spread a batch.
        weight_decay: Of its loss.
        precision: As in `measure`.
        max_products: As in `measure`.
        seed: As in `measure`.
        chunk: As in `LossFunction`.

    Returns:
        The columns in order; accuracies as shares.
    """
    check_shapes(model, dataset, model.name)
    batch_size = min(batch_size, len(dataset.train))
    if devices < 1 or batch_size % devices:
        raise DataError(f"{batch_size} images do not spread evenly over {devices} devices")
    found, loss_function = {}, None
    for suffix, part in (("batch", "batch"), ("dataset", "train"), ("dataset_te", "test")):
        images = select_images(dataset, part, batch_size, seed)
        options = {"loss": "squared", "weight_decay": weight_decay, "decay_all": True, "chunk": chunk}
        if loss_function is None:
            loss_function = LossFunction(model, images.images, images.labels, **options)
        loss_function = loss_function.over(images.images, images.labels)
        traces = estimate_traces(loss_function, ("hessian_trace", "ntk_trace"), precision, max_products, seed)
        found[f"tr_hess_{suffix}"] = traces["hessian_trace"].value / (batch_size // devices)
        found[f"tr_ntk_{suffix}"] = traces["ntk_trace"].value
        if part != "batch":
            accuracy = np.mean(predict(model, images.images).argmax(axis=1) == images.labels)
            found["acc_te" if part == "test" else "acc_tr"] = float(accuracy)
    return {column: found[column] for column in CIFAR_JAX_COLUMNS}


def format_tsv(rows: list[dict], number: str = "") -> str:
    """Rows of the same columns as tab-separated text with a header; floats in the format `number`."""
    lines = ["\t".join(rows[0])]
    for row in rows:
        cells = (format(x, number) if isinstance(x, float) else "" if x is None else str(x) for x in row.values())
        lines.append("\t".join(cells))
    return "\n".join(lines)


def write_tsv(rows: list[dict], path: Path, number: str = "") -> None:
    """Write what `format_tsv` gives.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(format_tsv(rows, number) + "\n")
    except OSError as failure:
        raise DataError(f"{path}: cannot be written ({failure})") from None
