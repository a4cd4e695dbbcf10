"""Run a batch of experiments: check all of them, then train one after another; a failure stops only its own run."""

import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cifarzoo.data import Dataset, load
from cifarzoo.errors import CifarzooError, ExperimentError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.generators import kept_generators
from cifarzoo.notebook import say
from cifarzoo.training.outcomes import Outcome, Outcomes
from cifarzoo.warnings_once import each_warning_once

if TYPE_CHECKING:
    import keras

    from cifarzoo.training.engines.channel import Channel
    from cifarzoo.training.job import Job
    from cifarzoo.training.user_callbacks import Callbacks


def set_backend(experiments: list[Experiment]) -> None:
    """Make Keras start on the backend that the experiments name; call it before anything imports Keras.

    Raises:
        ExperimentError: they name different backends, or Keras already runs on another one.
    """
    backends = {e.backend for e in experiments if e.backend}
    if len(backends) > 1:
        raise ExperimentError(
            f"backend: one process trains on one backend, the file names {' and '.join(sorted(backends))}"
        )
    if not backends:
        return
    (backend,) = backends
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != backend:
            raise ExperimentError(
                f"backend: the experiment needs {backend}, but Keras already runs on {keras.backend.backend()}; "
                f"start with KERAS_BACKEND={backend}"
            )
    os.environ["KERAS_BACKEND"] = backend


@kept_generators()
@each_warning_once()
def run_all(
    experiments: list[Experiment], callbacks: "keras.callbacks.Callback | Iterable[keras.callbacks.Callback]" = ()
) -> list[Outcome]:
    """Check every experiment (except those with `skip_error_test`), then train every run of each.

    Args:
        experiments: As `read_experiments` returns them.
        callbacks: Keras callbacks for every run, or a single one; see `cifarzoo.training.trainer.run`.

    Returns:
        One outcome per run, in order. An experiment that fails its check is not trained; the others are.

    Raises:
        ExperimentError: their `backend` is not the one that Keras runs on, or they name several; or a
            callback cannot work, or would choose by the test images; or there are callbacks, which follow one run at a
            time, and an experiment trains several seeds at once.
    """
    set_backend(experiments)
    from cifarzoo.training.agreement import joined  # only now that the backend is known
    from cifarzoo.training.stopping import StopRequest
    from cifarzoo.training.trainer import run_together
    from cifarzoo.training.user_callbacks import check_callbacks

    callbacks = check_callbacks(callbacks, *experiments)
    if callbacks and (several := [e for e in experiments if e.seeds_at_once > 1]):
        raise ExperimentError(
            f"{several[0].location}: seeds_at_once: callbacks follow one run at a time; set it to 1 to have your own"
        )

    datasets: dict[tuple, Dataset] = {}
    outcomes: dict[tuple[int, int], Outcome] = {}
    batches = []
    checked: dict[str, str] = {}
    with joined(experiments) as workers:
        for number, experiment in enumerate(experiments):
            if workers.failure:
                break
            try:
                batches += [(number, job) for job in _checked_jobs(experiment, datasets, callbacks, checked, workers)]
            except Exception as failure:  # whatever a user's own module raises stops its own experiment only
                cause = workers.explain(failure)
                for seed in experiment.seeds:
                    outcomes[number, seed] = Outcome.of(experiment, seed, cause)
                error = outcomes[number, experiment.seeds[0]].error or ""
                say(f"{experiment.location}: check failed: {error}")
                workers.fail(f"{experiment.name}: check failed: {error}")
        reason = _failure_of_all(workers)
        with StopRequest().on_signals() as stop:
            for number, job in batches:
                experiment = experiments[number]
                # The request to stop may have arrived just as the previous run finished.
                reason = reason or _reason_not_to_begin(workers, experiment, stop.signal is not None)
                if reason:
                    say(f"{experiment.name}: {reason}")
                    continue
                finished = {seed for seed in job.seeds if job.folder(seed).is_finished}
                results = run_together(job, job.seeds, callbacks, stop)
                for seed, result in zip(job.seeds, results, strict=True):
                    outcome = outcomes[number, seed] = Outcome.of(experiment, seed, result)
                    _report_failure(outcome)
                    if seed in finished and not outcome.error:
                        say(f"{experiment.name}, seed {seed}: already finished, not trained again")
    state = "not started" if workers.failure is None else "failed"
    return Outcomes(
        outcomes.get((number, seed)) or Outcome(experiment, seed, error=reason, state=state)
        for number, experiment in enumerate(experiments)
        for seed in experiment.seeds
    )


def _reason_not_to_begin(workers: "Channel", experiment: Experiment, stop_requested: bool) -> str | None:
    """Return why no further run starts on any worker: a worker was asked to stop, or failed. None to continue."""
    from cifarzoo.training.agreement import any_says

    try:
        (stops,) = any_says(workers, f"the beginning of {experiment.name}", stop_requested)
    except CifarzooError:
        return _failure_of_all(workers)
    return "not started, as the batch was stopped; the same command resumes it" if stops else None


def _failure_of_all(workers: "Channel") -> str | None:
    """Return why runs do not start after a failure of this or another worker; None without a failure."""
    if workers.failure is None:
        return None
    return f"not started, as a failure ends a batch of several workers ({workers.failure})"


def _checked_jobs(
    experiment: Experiment,
    datasets: dict[tuple, Dataset],
    callbacks: "Callbacks",
    checked: dict[str, str],
    workers: "Channel",
) -> "list[Job]":
    """Return one job for each set of seeds that train together, after checking the first job.

    A finished experiment is not checked, nor is one that differs from an earlier experiment only in numbers.

    Args:
        experiment: The experiment.
        datasets: The data sets loaded so far; a new one is added.
        callbacks: The user's callbacks.
        checked: Names of the experiments checked so far, by what their checks depend on.
        workers: The channel to other workers, which run the check together.
    """
    from cifarzoo.hardware import slow_precision
    from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
    from cifarzoo.training import engines
    from cifarzoo.training.agreement import any_says
    from cifarzoo.training.checks import average_warning
    from cifarzoo.training.job import prepare
    from cifarzoo.training.preflight import check_folders, check_key, preflight
    from cifarzoo.user_code import no_exit

    # First of all: a multi-worker strategy must exist before TensorFlow runs anything, including TFDS.
    engines.current().join_cluster(experiment.distribution)
    if warning := slow_precision(experiment.precision, experiment.distribution):
        say(f"{experiment.location}: {warning}")
    key = experiment.dataset, experiment.data_dir
    if key not in datasets:
        datasets[key] = load(experiment.dataset, experiment.data_dir)
    jobs = [prepare(experiment, datasets[key], seeds) for seeds in experiment.seed_groups]
    if warning := average_warning(jobs[0].experiment, jobs[0].plan):
        say(warning)
    to_train = [check_folders(job, lock=job is jobs[0] and not experiment.skip_error_test) for job in jobs]
    (is_due,) = any_says(workers, f"the check of {experiment.name}", any(to_train) and not experiment.skip_error_test)
    if not is_due:
        return jobs
    seen = check_key(jobs[0].experiment)
    if seen in checked:
        say(f"{experiment.name}: check skipped: it differs only in numbers from {checked[seen]}")
        return jobs
    started = time.perf_counter()
    with without_tensorflow(), no_exit(experiment.model):
        preflight(jobs[0], callbacks)
    checked[seen] = experiment.name
    say(f"{experiment.name}: check passed in {time.perf_counter() - started:.0f} s")
    return jobs


def _report_failure(outcome: Outcome) -> None:
    if outcome.error and outcome.state == "stopped":
        say(outcome.error)
    elif outcome.error:
        say(f"{outcome.experiment.location}: failed: {outcome.error}")
