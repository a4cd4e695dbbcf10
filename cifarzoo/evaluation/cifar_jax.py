"""Logs and sharpness with the columns, units and scales of https://github.com/sungyubkim/cifar_jax.

Reading a log needs no Keras.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.data import Dataset
from cifarzoo.errors import DataError
from cifarzoo.runs.tables import format_tsv, read_table

if TYPE_CHECKING:
    import keras

SHARPNESS_COLUMNS = (
    "acc_tr",
    "acc_te",
    "tr_hess_batch",
    "tr_hess_dataset",
    "tr_ntk_batch",
    "tr_ntk_dataset",
    "tr_hess_dataset_te",
    "tr_ntk_dataset_te",
)


def format_log(path: Path) -> str:
    """Convert a run's log.tsv to cifar_jax's columns, one row per validation.

    The columns are epoch, acc, loss (of the augmented batches), wd (half the squared norm of the weights), grad_norm
    (squared; there the norm of one step's gradient with weight decay, here the mean norm without it), acc_tr (nan
    without `train_metrics: true`) and acc_te. Accuracies are between 0 and 1.

    Raises:
        DataError: the file is not the log of a run, or has no validation yet.
    """
    log = read_table(path)
    try:
        columns = {
            "epoch": log["epoch"],
            "acc": 1 - log["error"] / 100,
            "loss": log["loss"],
            "wd": log["weight_norm"] ** 2 / 2,
            "grad_norm": log["gradient_norm"] ** 2,
            "acc_tr": 1 - log["train_error"] / 100,
            "acc_te": 1 - log["val_error"] / 100,
        }
    except KeyError as failure:
        raise DataError(f"{path}: has no column {failure}; not the log of a run") from None
    validations = np.flatnonzero(np.isfinite(log["val_error"]))
    if not len(validations):
        raise DataError(f"{path}: no validation yet")
    return format_tsv(columns, [[f"{values[row]:.6g}" for values in columns.values()] for row in validations])


def sharpness_row(
    model: "keras.Model",
    dataset: Dataset,
    batch_size: int = 10_000,
    devices: int = 1,
    weight_decay: float = 5e-4,
    precision: float = 0.05,
    max_products: int = 2000,
    seed: int = 0,
    chunk: int = 125,
) -> dict[str, float]:
    """Measure the columns of cifar_jax's sharpness.tsv, on its scales.

    Its loss is the squared one plus weight decay of all parameters, and BatchNormalization uses its moving statistics.
    Its Hessian traces, although of a mean loss, are divided once more by the number of images that one device has of a
    batch. NTK traces are means over images. Unlike there, all images count here, and probes are drawn until the
    precision is reached, not 100 times.

    Args:
        model: Returns logits.
        dataset: The images, not augmented.
        batch_size: Images of cifar_jax's evaluation batch; fewer if there are fewer training images.
        devices: Number of devices over which cifar_jax spreads a batch.
        weight_decay: Weight decay in cifar_jax's loss.
        precision: See `cifarzoo.evaluation.sharpness.measure`.
        max_products: See `measure`.
        seed: See `measure`.
        chunk: See `LossFunction`.

    Returns:
        The columns in order. Accuracies are between 0 and 1.

    Raises:
        CifarzooError: as `measure`, or the batch does not spread evenly over the devices.
    """
    # Imported here because they import Keras.
    from cifarzoo.evaluation.evaluate import predict
    from cifarzoo.evaluation.fit import check_shapes
    from cifarzoo.evaluation.sharpness import LossFunction, estimate_traces
    from cifarzoo.evaluation.sharpness.measure import select_images

    check_shapes(model, dataset, model.name)
    batch_size = min(batch_size, len(dataset.train))
    if devices < 1 or batch_size % devices:
        raise DataError(f"{batch_size} images do not spread evenly over {devices} devices")
    options: dict[str, Any] = {"loss": "squared", "weight_decay": weight_decay, "decay_all": True, "chunk": chunk}
    row, loss_function = {}, None
    for suffix, part in (("batch", "batch"), ("dataset", "train"), ("dataset_te", "test")):
        split = select_images(dataset, part, batch_size, seed)
        arrays = split.images, split.labels
        loss_function = loss_function.over(*arrays) if loss_function else LossFunction(model, *arrays, **options)
        traces = estimate_traces(loss_function, ("hessian_trace", "ntk_trace"), precision, max_products, seed)
        row[f"tr_hess_{suffix}"] = traces["hessian_trace"].value / (batch_size // devices)
        row[f"tr_ntk_{suffix}"] = traces["ntk_trace"].value
        if part != "batch":
            accuracy = np.mean(predict(model, split.images).argmax(axis=1) == split.labels)
            row["acc_te" if part == "test" else "acc_tr"] = float(accuracy)
    return {column: row[column] for column in SHARPNESS_COLUMNS}
