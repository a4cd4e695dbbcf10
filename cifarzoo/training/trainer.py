"""Train one run, or several seeds side by side, from fresh weights or the last checkpoint to the results.

`run_together` is the loop. `cifarzoo.training.run.Run` holds what one seed does before, during and after it.
"""

import contextlib
import time
from collections.abc import Sequence

import numpy as np

from cifarzoo.experiment.plan import stream_indices
from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
from cifarzoo.runs.results import Results
from cifarzoo.training import engines
from cifarzoo.training.engines.interface import EngineGroup
from cifarzoo.training.job import Job
from cifarzoo.training.run import Callbacks, Run
from cifarzoo.training.stopping import StopRequest


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
        callbacks: Keras callbacks in addition to the run's own. `on_train_batch_end` comes once per compiled call (with
            the number of its last step), `on_epoch_end` once per validation, `on_train_end` after the final weights are
            written. The model has the current weights whenever they are called. No checkpoint holds what they remember.
        stop: Of a batch of runs; by default Ctrl-C and SIGTERM stop this one.
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
        runs = [stack.enter_context(contextlib.closing(Run(job, seed, callbacks, stop, deadline))) for seed in seeds]
        groups: dict[tuple[int, ...], EngineGroup] = {}
        for one in runs:
            one.attempt(one.start)
        while training := [one for one in runs if one.outcome is None]:
            # A seed that was resumed from an earlier step than the others catches up alone.
            step = min(one.step for one in training)
            together = [one for one in training if one.step == step]
            end = job.plan.next_end(step)
            for one in together:
                one.attempt(one.before_call)
            if not (together := [one for one in together if one.outcome is None]):
                continue
            started = time.perf_counter()
            try:
                sums = _train(together, step, end, groups)
            except Exception as failure:
                for one in together:
                    one.end(failure)
                continue
            seconds = (time.perf_counter() - started) / len(together)  # each run's share of the device
            for one, own_sums in zip(together, sums, strict=True):
                one.attempt(one.after_call, end, own_sums, seconds)
        return [one.outcome for one in runs if one.outcome is not None]


def _train(runs, step, end, groups):
    """Train the steps from `step` up to but not including `end` of all runs in one compiled call."""
    plan = runs[0].job.plan
    rates = plan.rates(step, end)
    first, count = step * plan.batch_size, (end - step) * plan.batch_size
    indices = [stream_indices(one.seed, plan.images, first, count).reshape(-1, plan.batch_size) for one in runs]
    if len(runs) == 1:
        return [runs[0].engine.train(step, indices[0], rates)]
    seeds = tuple(one.seed for one in runs)
    if seeds not in groups:
        groups[seeds] = engines.current().create_group([one.engine for one in runs])
    return groups[seeds].train(step, np.stack(indices), rates)
