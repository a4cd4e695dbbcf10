"""Before a run learns from a teacher: measure the teacher once, and compute the logits of its fixed views.

The logits of a view depend only on the teacher, the training images, their augmentation, the seed and the view's
number. They are kept in a folder under `logdir` that is named by all of these, one file per view: an interrupted run
continues with the files it has written, and experiments that differ in the student, the temperature, the weight or the
number of views share them.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cifarzoo import npz
from cifarzoo.errors import ExperimentError, TrainingError
from cifarzoo.metrics import classification_metrics
from cifarzoo.notebook import say
from cifarzoo.runs import atomic
from cifarzoo.training.agreement import any_says
from cifarzoo.training.checks import kind_of_probabilities
from cifarzoo.training.engines.channel import Channel
from cifarzoo.training.engines.interface import Engine
from cifarzoo.training.job import Job
from cifarzoo.training.stopping import Interrupted

FOLDER = "teachers"
# Logits of other versions are not read. Increase it with every change of what an augmentation or `Draws` computes.
VIEWS = 1


def measure_teacher(job: Job, engine: Engine) -> str:
    """Return a line with the teacher's error on the validation split, by which a wrong teacher is noticed.

    Raises:
        ExperimentError: the outputs are not finite, or not logits.
    """
    split, experiment = job.experiment.val_split, job.experiment
    names = job.teacher_names()
    logits = check_teacher(job, engine.teacher.logits(split))  # type: ignore[union-attr]
    error = classification_metrics(logits, job.validation().labels)["error"]
    chance = 100 * (1 - 1 / job.arrays.classes)
    doubt = "; no better than chance: are its classes in another order?" if error > chance - 1 else ""
    return f"{experiment.name}: error of the teacher {names} on {split}: {error:.2f} %{doubt}"


def check_teacher(job: Job, logits: np.ndarray) -> np.ndarray:
    """Return a teacher's outputs, after checking that they are finite logits.

    Raises:
        ExperimentError: they are not.
    """
    problem = "" if np.isfinite(logits).all() else "its outputs are not finite"
    if not problem and (kind := kind_of_probabilities(logits)):
        problem = f"it returns probabilities, like a {kind}; a teacher returns logits"
    if problem:
        raise ExperimentError(f"{job.experiment.location}: teacher.model: {job.teacher_names()}: {problem}")
    return logits


def stored(logits: np.ndarray) -> np.ndarray:
    """Return logits in float16, which halves them on the device.

    Raises:
        TrainingError: they are too large for float16.
    """
    if (largest := float(np.abs(logits).max())) > np.finfo(np.float16).max:
        raise TrainingError(f"teacher.views: logits up to {largest:.3g} do not fit float16; leave out views")
    return logits.astype(np.float16)


def view_logits(job: Job, engine: Engine, workers: Channel, stop_requested: Callable[[], bool]) -> np.ndarray:
    """Read or compute the teacher's logits of all views.

    Args:
        job: What is trained.
        engine: The engine of one of its seeds.
        workers: The channel to other workers, which compute together.
        stop_requested: Whether the process was asked to stop.

    Returns:
        float16 [views, training images, classes].

    Raises:
        Interrupted: stopped; the views so far are kept. ExperimentError: the outputs are not finite, or not logits.
        TrainingError: they are too large for float16. OSError: a file cannot be written.
    """
    split = job.experiment.train_split
    views = (job.parts.teacher and job.parts.teacher.views) or 0
    name = f"{job.experiment.name}, seed {engine.seed}"
    folder = cache_folder(job, engine.seed)
    shape = job.arrays.size(split), job.arrays.classes
    result, seconds = np.empty((views, *shape), np.float16), []
    atomic.remove_temporary(folder, "npz", older_than=atomic.ABANDONED)
    for view in range(views):
        path = folder / f"view{view:04d}.npz"
        kept = _read(path, shape)
        is_missing, stops = any_says(workers, f"{name}: view {view}", kept is None, stop_requested())
        if stops:
            raise Interrupted(
                f"{name}: stopped after {view} of {views} views of the teacher's logits, which are kept; the same "
                "command continues"
            )
        if not is_missing and kept is not None:
            result[view] = kept
            continue
        started = time.perf_counter()
        result[view] = stored(check_teacher(job, engine.teacher.logits(split, view)))  # type: ignore[union-attr]
        seconds.append(time.perf_counter() - started)
        if job.is_chief:
            _write(path, result[view])
            if len(seconds) == 1 and views > 1:
                say(f"{name}: the teacher's logits of view {view + 1} of {views} took {seconds[0]:.0f} s")
    if seconds and job.is_chief:
        say(f"{name}: the teacher's logits of {len(seconds)} views took {sum(seconds):.0f} s; kept in {folder}")
    return result


def cache_folder(job: Job, seed: int) -> Path:
    """Return the folder of the logits of a seed's views, named by a hash of what they depend on."""
    experiment = job.experiment
    images = job.arrays.split(experiment.train_split).images
    facts = {
        "version": VIEWS,
        "teachers": job.teacher_sources(),
        "images": hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(),
        "facts": [job.arrays.classes, *job.arrays.mean_color],
        "augmentation": experiment.model_dump(mode="json")["augmentation"],
        "precision": experiment.precision,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Path(experiment.train_parameters.logdir) / FOLDER / digest[:16]


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Read a view; None if there is none, or if it is damaged and has to be computed again."""
    try:
        logits = npz.read(path).get("logits")
    except (OSError, ValueError):
        return None
    fits = logits is not None and logits.dtype == np.float16 and logits.shape == shape and np.isfinite(logits).all()
    return logits if fits else None


def _write(path: Path, logits: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path, shared=True) as temporary, open(temporary, "wb") as file:
        np.savez(file, logits=logits)
