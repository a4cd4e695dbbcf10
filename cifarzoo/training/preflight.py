"""The check before training: a few steps on a few images, so that a run does not fail hours later."""

import dataclasses
import json

import numpy as np

from cifarzoo.augment.own_checks import check_own
from cifarzoo.augment.pipeline import Pipeline
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training import engines
from cifarzoo.training.agreement import agree_on_run
from cifarzoo.training.checks import check_model, check_outputs
from cifarzoo.training.job import Job
from cifarzoo.training.kept_size import check_kept_size
from cifarzoo.training.named_callbacks import build_callbacks
from cifarzoo.training.sources import check_sources
from cifarzoo.training.teacher_views import check_teacher, stored
from cifarzoo.training.try_callbacks import try_callbacks
from cifarzoo.training.user_callbacks import DIRECTIONS, TRAIN_DIRECTIONS, Callbacks

STEPS = 2
IMAGES_PER_REPLICA = 5

# Parameters of which all positive values compile to the same program.
NUMBERS = ("momentum", "weight_decay", "clip_norm", "sam_rho", "label_smoothing", "ema_decay")


def check_folders(job: Job, lock: bool = True) -> bool:
    """Check that the runs' folders contain no other runs and are writable, before building anything.

    Args:
        job: The job to check.
        lock: Whether to try to lock the first folder.

    Returns:
        Whether any of the runs is not finished.

    Raises:
        CheckpointError: a folder is in use, cannot be written, or belongs to another experiment. DataError: a folder
            is damaged.
    """
    folders = [job.folder(seed) for seed in job.seeds]
    for folder, seed in zip(folders, job.seeds, strict=True):
        folder.check_belongs_to(job.experiment)
        check_sources(folder, job.sources(seed))
    unfinished = [folder for folder in folders if not folder.is_finished]
    if lock and job.is_chief and unfinished:
        with unfinished[0].locked():
            pass
    return bool(unfinished)


def check_key(experiment: Experiment) -> str:
    """Return the settings on which the check of an experiment depends, as text to compare with other experiments.

    Of numbers in `NUMBERS`, only whether they are zero counts.
    """
    document = experiment.resolved()
    parameters = document["train_parameters"]
    for key in ("description", "seeds", "skip_error_test"):
        document.pop(key)
    intervals = ("log_interval", "val_interval", "checkpoint_interval", "early_stopping", "best_weights")
    for key in ("run_name", "schedule", "lr_reference_batch", *intervals):
        parameters.pop(key)
    for key in NUMBERS:
        parameters[key] = bool(parameters.get(key))
    if optimizer := parameters["optimizer"]:
        parameters["optimizer"] = {k: bool(v) if isinstance(v, float) else v for k, v in optimizer.items()}
    if teacher := document["teacher"]:
        document["teacher"] = {"model": teacher["model"], "views": bool(teacher["views"])}
    return json.dumps(document, sort_keys=True)


def preflight(job: Job, callbacks: Callbacks = ()) -> None:
    """Build the model, train two steps on five images per replica, predict ten; nothing is kept.

    Args:
        job: The job to check.
        callbacks: The user's callbacks; the check calls copies of them.

    Raises:
        CifarzooError: an error that would have stopped the run later.
    """
    workers = engines.current().workers(job.experiment.distribution)
    agree_on_run(workers, job, job.seeds[0], "the check of")
    batch = IMAGES_PER_REPLICA * job.replicas
    teacher = job.parts.teacher
    if teacher and teacher.views:
        teacher = dataclasses.replace(teacher, views=1)
    parts = dataclasses.replace(
        job.parts,
        teacher=teacher,
        batch_size=batch,
        accumulate=1,
        eval_batch_size=2 * batch,
        max_steps_per_call=STEPS,
        train_split="train",
    )
    few = dataclasses.replace(
        job.arrays,
        train=job.arrays.split(job.experiment.train_split).take(slice(STEPS * batch)),
        test=job.arrays.split(job.experiment.val_split).take(slice(2 * batch)),
    )
    if isinstance(job.parts.augment, Pipeline):
        check_own(job.parts.augment, few.train.images, few.train.targets)
    module = engines.current()
    trained = [module.create_engine(parts, few, seed) for seed in job.seeds]
    share = trained[0].images_at_once / batch  # of a batch, in front of BatchNormalization
    check_model(job.experiment, trained[0].model, round(share * job.parts.batch_size / job.parts.accumulate))
    check_kept_size(job.experiment, job.plan, trained[0].model)
    for engine in trained:
        if teacher and engine.teacher:
            logits = check_teacher(job, engine.teacher.logits("train", 0 if teacher.views else None))
            if teacher.views:
                engine.teacher.keep(stored(logits)[None])
    indices = np.arange(STEPS * batch, dtype=np.int32).reshape(STEPS, batch) % len(few.train)
    rates = np.full(STEPS, 0.01)
    if len(trained) > 1:
        module.create_group(trained).train(0, np.stack([indices] * len(trained)), rates)
    else:
        trained[0].train(0, indices, rates)
    check_outputs(job.experiment, trained[0].predict("test"))
    callbacks = [*callbacks, *build_callbacks(job.experiment, job.seeds[0], job.is_chief)]
    if callbacks:
        trained[0].sync_model()
        measured = DIRECTIONS | (TRAIN_DIRECTIONS if job.experiment.train_parameters.train_metrics else {})
        try_callbacks(callbacks, trained[0].model, job.plan, dict.fromkeys(measured, 1.0))
