"""Measure the weights that a run kept along the way."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from cifarzoo.data.dataset import Dataset
from cifarzoo.errors import DataError
from cifarzoo.evaluation.evaluate import Progress, evaluate
from cifarzoo.evaluation.load_model import load_from_run
from cifarzoo.evaluation.measured_data import measured_data
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.loading import load_file
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import read_table

logger = logging.getLogger("cifarzoo")


def trajectory(
    folder: RunFolder,
    split: str | None = None,
    dataset: Dataset | None = None,
    data_dir: str | None = None,
    flip: bool = False,
    progress: Progress = lambda step, done: None,
) -> list[dict[str, Any]]:
    """Measure all weights that a run has kept so far, and its final weights if they are of another step.

    Log a warning if files are missing that the run has kept.

    Args:
        folder: The run's folder; the run need not have finished.
        split: Name of the split; by default the one on which the run was validated.
        dataset: The data set; by default the run's.
        data_dir: Folder of the archives.
        flip: See `evaluate`.
        progress: Called with the name of the next step and the fraction done, from 0 to 1.

    Returns:
        One row per file: `step`, `epoch`, `weights` (the path), and what `classification_metrics` returns.

    Raises:
        DataError: the run has kept no weights. CifarzooError: as `load_from_run` and `evaluate`.
    """
    files = folder.kept.files()
    if not files:
        raise DataError(
            f"{folder}: has kept no weights along the way; train with train_parameters.keep, such as "
            "{every: {epochs: 1}}"
        )
    experiment = folder.experiment()
    split = split or experiment.val_split
    loaded = load_from_run(folder, next(iter(files.values())))
    dataset = dataset or measured_data(loaded, None, data_dir)
    images = _training_images(folder, experiment) or dataset.size(experiment.train_split)
    plan = Plan(experiment, images, dataset.inputs.size)
    last = max(files)
    if folder.is_finished:
        results = folder.results()
        # With `best_weights` the final file holds those of an earlier step.
        steps = results.steps if results.best_step is None else results.best_step
        files = dict(sorted(({steps: folder.final_weights()} | files).items()))
    if missing := [step for step in range(last) if step in plan.kept and step not in files]:
        logger.warning("%s: without the kept weights of steps %s, which are missing", folder, _brief(missing))
    rows: list[dict[str, Any]] = []
    for number, (step, path) in enumerate(files.items()):
        progress(f"{split} images, {path.name}", number / len(files))
        load_file(loaded.model, path)
        metrics, _ = evaluate(replace(loaded, source=str(path)), dataset, split, flip=flip)
        rows.append({"step": step, "epoch": step * plan.batch_size / plan.images, "weights": str(path)} | metrics)
    return rows


def logged_or_measured(
    folder: RunFolder, log: dict[str, np.ndarray], split: str, dataset: Dataset
) -> list[dict[str, Any]]:
    """Return the rows of the kept weights from the run's log, if it was validated after all of them, or measure them.

    Args:
        folder: The run's folder.
        log: Its log, as `read_table` returns it.
        split: The split on which the run was validated.
        dataset: The data set.
    """
    steps = [step for step in folder.kept.files() if step > 0]
    rows = from_log(log, steps)
    return rows if rows and len(rows) == len(steps) else trajectory(folder, split, dataset)


def from_log(log: dict[str, np.ndarray], steps: list[int]) -> list[dict[str, Any]]:
    """Return rows of a run's log for kept steps: `step`, `epoch`, `error` and `nll` of its validation split.

    Steps at which the run was not validated are left out.
    """
    rows = []
    for step in steps:
        for row in np.flatnonzero((log["step"] == step) & np.isfinite(log["val_error"])):
            rows.append({"step": step, "epoch": float(log["epoch"][row])})
            rows[-1] |= {"error": float(log["val_error"][row]), "nll": float(log["val_loss"][row])}
    return rows


def _training_images(folder: RunFolder, experiment: Experiment) -> int | None:
    """Return the size of a run's training split, which may be a part of the data set's; None if its log has no row."""
    try:
        log = read_table(folder.log_path)
    except DataError:
        return None
    return round(log["step"][-1] * experiment.train_parameters.batch_size / log["epoch"][-1])


def _brief(steps: list[int]) -> str:
    return ", ".join(map(str, steps[:5])) + (f" and {len(steps) - 5} more" if len(steps) > 5 else "")
