"""Train one run, or several seeds side by side, from fresh weights or the last checkpoint to the results.

`run_together` is the loop; `cifarzoo.training.run` is what one seed does before, during and after it, with its files,
measurements and callbacks in `run_files`, `run_measurements` and `run_callbacks`.
"""

import contextlib
import time
from collections.abc import Sequence

import numpy as np

from cifarzoo.experiment.plan import stream_indices
from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
from cifarzoo.runs.folder import finish_saving
from cifarzoo.runs.results import Results
from cifarzoo.training import engines
from cifarzoo.training.agreement import any_says
from cifarzoo.training.engines.channel import WorkerError
from cifarzoo.training.engines.interface import EngineGroup
from cifarzoo.training.job import Job
from cifarzoo.training.run import Run
from cifarzoo.training.stopping import StopRequest
from cifarzoo.training.user_callbacks import Callbacks
from cifarzoo.user_code import no_exit


def run(
    job: Job,
    seed: int,
    callbacks: Callbacks = (),
    stop: StopRequest | None = None,
    deadline: float | None = None,
) -> Results:
    """Train one run to its end, resuming from its checkpoint if there is one.

    Args:
        job: What to train.
        seed: One of its seeds.
        callbacks: Keras callbacks in addition to the run's own. `on_train_batch_end` runs once per compiled call (with
            the number of its last step), `on_epoch_end` once per validation, `on_train_end` after the final weights are
            written. The model has its current weights, except in `on_epoch_end` and in `on_train_end` of a finished
            run: there it has the measured weights, which may be averages. `model.optimizer` shows the schedule's
            learning rate. Checkpoints do not store the state of callbacks.
        stop: The stop request of a batch of runs; by default Ctrl-C and SIGTERM stop this run.
        deadline: `time.monotonic()` at which to stop; None for never.

    Raises:
        TrainingError: the loss is not finite. Interrupted: stopped and saved.
        CheckpointError: the folder is in use, cannot be written, or belongs to another experiment.
    """
    (outcome,) = run_together(job, [seed], callbacks, stop, deadline)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def run_together(
    job: Job,
    seeds: Sequence[int],
    callbacks: Callbacks = (),
    stop: StopRequest | None = None,
    deadline: float | None = None,
) -> list[Results | Exception]:
    """Train several seeds side by side, those at the same step in one program; see `run`.

    Returns:
        For every seed its results, or the exception that ended it while the other seeds continued.
    """
    with contextlib.ExitStack() as stack:
        stop = stop or stack.enter_context(StopRequest().on_signals())
        stack.enter_context(without_tensorflow())
        runs = [stack.enter_context(contextlib.closing(Run(job, seed, callbacks))) for seed in seeds]
        groups: dict[tuple[int, ...], EngineGroup] = {}
        workers = runs[0].workers
        stack.enter_context(workers.working())
        for run in runs:
            run.attempt(run.lock)
        locked = [run for run in runs if run.outcome is None and not run.folder.is_finished]
        if job.is_chief and len(runs) > 1 and locked:
            locked[0].attempt(finish_saving, [run.folder for run in locked])
        _agree(runs, f"the start of {job.experiment.name}")
        for run in runs:
            run.attempt(run.start)

        def stop_requested() -> bool:
            return stop.signal is not None or (deadline is not None and time.monotonic() > deadline)

        for run in runs:
            run.attempt(run.prepare_teacher, stop_requested)
        while training := [run for run in runs if run.outcome is None]:
            # A seed that was resumed from an earlier step than the others catches up alone.
            step = min(run.step for run in training)
            together = [run for run in training if run.step == step]
            end = job.plan.next_end(step)
            for run in together:
                run.attempt(run.before_call)
            if not (together := [run for run in together if run.outcome is None]):
                continue
            started = time.perf_counter()
            try:
                with no_exit(together[0].job.experiment.model):
                    sums = _train(together, step, end, groups)
            except Exception as failure:
                for run in together:
                    run.end(failure)
                continue
            seconds = (time.perf_counter() - started) / len(together)  # each run's share of the device
            for run, own_sums in zip(together, sums, strict=True):
                run.attempt(run.after_call, end, own_sums, seconds)
            stops_here = stop_requested()
            if _conclude_call(together, end, stops_here) and not stops_here:
                stop.note_other_worker()
        return [run.outcome for run in runs if run.outcome is not None]


def _train(
    runs: Sequence[Run], step: int, end: int, groups: dict[tuple[int, ...], EngineGroup]
) -> list[dict[str, float]]:
    """Train the steps from `step` up to but not including `end` of all runs in one compiled call."""
    plan = runs[0].job.plan
    rates = plan.rates(step, end)
    first, count = step * plan.batch_size, (end - step) * plan.batch_size
    indices = [stream_indices(run.seed, plan.images, first, count).reshape(-1, plan.batch_size) for run in runs]
    if len(runs) == 1:
        return [runs[0].engine.train(step, indices[0], rates)]
    seeds = tuple(run.seed for run in runs)
    if seeds not in groups:
        groups[seeds] = engines.current().create_group([run.engine for run in runs])
    return groups[seeds].train(step, np.stack(indices), rates)


def _agree(runs: Sequence[Run], topic: str, *answers: bool) -> list[bool]:
    """Return for each question whether any worker answers yes; end the runs if the workers cannot agree."""
    try:
        return any_says(runs[0].workers, topic, *answers)
    except WorkerError as failure:
        for run in runs:
            if run.outcome is None:
                run.end(failure)
        return list(answers)


def _conclude_call(runs: Sequence[Run], end: int, stop_requested: bool) -> bool:
    """Agree with the other workers on what follows a compiled call; then save, stop or finish.

    Args:
        runs: The runs that the call trained.
        end: Number of steps done after it.
        stop_requested: Whether this process has been asked to stop.

    Returns:
        Whether any worker has been asked to stop.
    """
    wishes = [run.outcome is None and run.engine.model.stop_training for run in runs]
    stops, *finish = _agree(runs, f"step {end} of {runs[0].job.experiment.name}", stop_requested, *wishes)
    for run, finishes in zip(runs, finish, strict=True):
        if run.outcome is None:
            run.engine.model.stop_training = finishes
    plan = runs[0].job.plan
    if stops or plan.is_due(plan.checkpoint, end):
        for run in runs:
            run.attempt(run.save, len(runs) > 1)
        for run in runs:
            if len(runs) > 1 and run.job.is_chief:
                run.attempt(run.folder.accept_next_checkpoint)
    for run in runs:
        run.attempt(run.stop_or_finish, stops)
    return stops
