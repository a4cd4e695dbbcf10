"""A batch of experiments: check all of them first, then train one after another; a failure stops only its own run."""

import dataclasses
import os
import sys
import time
from pathlib import Path

import rich.table

from cifarzoo.data import Dataset, load
from cifarzoo.errors import ExperimentError, summarize
from cifarzoo.experiment.schema import Experiment

PREFLIGHT_STEPS = 2
PREFLIGHT_BATCH = 5


@dataclasses.dataclass
class Outcome:
    """How a run ended.

    Attributes:
        results: What results.json holds, if it has finished.
        error: Else one line that says why not.
        state: "finished", "failed", "stopped" (saved, to be gone on with) or "not begun".
    """

    experiment: Experiment
    seed: int
    results: dict | None = None
    error: str | None = None
    state: str = "finished"


def set_backend(experiments: list[Experiment]) -> None:
    """Start Keras on the backend that the experiments name; to be called before anything imports Keras.

    Raises:
        ExperimentError: they name different ones, or Keras runs on another already.
    """
    wanted = {e.backend for e in experiments if e.backend}
    if len(wanted) > 1:
        raise ExperimentError(
            f"backend: one process trains on one backend, the file names {' and '.join(sorted(wanted))}"
        )
    if not wanted:
        return
    (backend,) = wanted
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != backend:
            raise ExperimentError(
                f"backend: {backend} is wanted, but Keras already runs on {keras.backend.backend()}; "
                f"start with KERAS_BACKEND={backend}"
            )
    os.environ["KERAS_BACKEND"] = backend


def preflight(experiment: Experiment, dataset: Dataset) -> None:
    """Build the model, take two steps on five images a replica and predict ten; nothing is kept.

    Raises:
        CifarzooError: what would have stopped the run later.
    """
    import numpy as np

    from cifarzoo.runs.folder import RunFolder
    from cifarzoo.training.checks import check_model
    from cifarzoo.training.engines import create_engine, create_group, is_chief, replica_count
    from cifarzoo.training.engines.batches import check_shares

    replicas = replica_count(experiment)
    check_shares(experiment.train_parameters, replicas)
    if is_chief(experiment):
        with RunFolder.of(experiment, experiment.seeds[0]).locked():
            pass
    batch = PREFLIGHT_BATCH * replicas
    parameters = experiment.train_parameters.for_steps(PREFLIGHT_STEPS)
    parameters = parameters.model_copy(update={"batch_size": batch, "accumulate": 1, "eval_batch_size": 10})
    small = experiment.model_copy(update={"train_parameters": parameters})
    # 400 training images leave some for `validation`; ten a replica are enough to predict.
    few = dataclasses.replace(
        dataset, train=dataset.train.take(slice(400)), test=dataset.test.take(slice(10 * replicas))
    )
    engines = [create_engine(small, few, seed) for seed in experiment.seeds[: experiment.seeds_at_once]]
    given = experiment.train_parameters
    images_at_once = engines[0].share * given.batch_size // (batch * given.accumulate)
    check_model(experiment, engines[0].model, images_at_once)
    places = np.arange(PREFLIGHT_STEPS * batch, dtype=np.int32).reshape(PREFLIGHT_STEPS, batch)
    rates = np.full(PREFLIGHT_STEPS, 0.01)
    if len(engines) > 1:
        create_group(engines).train(0, np.stack([places] * len(engines)), rates)
    else:
        engines[0].train(0, places, rates)
    engines[0].predict(experiment.val_split)


def run_all(experiments: list[Experiment], callbacks=()) -> list[Outcome]:
    """Check every experiment (but those with `skip_error_test`), then train every run of each.

    Args:
        experiments: As `read_experiments` returns them.
        callbacks: Keras callbacks for every run; see `cifarzoo.training.trainer.run`.

    Returns:
        One outcome a run, in order. An experiment that fails its check is not trained; the others are.

    Raises:
        ExperimentError: their `backend` is another than Keras runs on, or they name several; or there are callbacks,
            which follow one run at a time, and an experiment trains several seeds at once.
    """
    set_backend(experiments)
    if callbacks and (several := [e for e in experiments if e.seeds_at_once > 1]):
        raise ExperimentError(
            f"{several[0].location}: seeds_at_once: callbacks follow one run at a time; set it to 1 to have your own"
        )
    from cifarzoo.experiment.plan import Plan
    from cifarzoo.hardware import slow_precision
    from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
    from cifarzoo.training.build import build_augmentation
    from cifarzoo.training.engines import is_chief, replica_count
    from cifarzoo.training.resolve_auto import settled
    from cifarzoo.training.trainer import Interrupted, StopRequest, run_together

    datasets: dict[tuple, Dataset] = {}
    outcomes: dict[tuple[int, int], Outcome] = {}
    ready = []
    for number, experiment in enumerate(experiments):
        try:
            # First of all: a multi-worker strategy must be there before TensorFlow runs anything, TFDS included.
            replica_count(experiment)
            if warning := slow_precision(experiment.precision, experiment.distribution):
                _say(f"{experiment.location}: {warning}")
            key = experiment.dataset, experiment.data_dir
            if key not in datasets:
                datasets[key] = load(experiment.dataset, experiment.data_dir)
            # Fast enough to be checked always.
            Plan(experiment, len(datasets[key].split(experiment.train_split)))
            build_augmentation(experiment, datasets[key].classes)
            if not experiment.skip_error_test:
                started = time.perf_counter()
                with without_tensorflow():
                    preflight(settled(experiment, experiment.seeds), datasets[key])
                _say(f"{experiment.name}: check passed in {time.perf_counter() - started:.0f} s")
            ready.append((number, experiment, datasets[key]))
        except Exception as failure:  # whatever a user's own module raises stops its own experiment only
            line = summarize(failure).removeprefix(f"{experiment.location}: ")
            _say(f"{experiment.location}: check failed: {line}")
            outcomes |= {
                (number, seed): Outcome(experiment, seed, error=line, state="failed") for seed in experiment.seeds
            }
    batches = [
        (number, experiment, dataset, experiment.seeds[first : first + experiment.seeds_at_once])
        for number, experiment, dataset in ready
        for first in range(0, len(experiment.seeds), experiment.seeds_at_once)
    ]
    stopped = False
    with (stop := StopRequest()).on_signals():
        for number, experiment, dataset, seeds in batches:
            if stopped or stop.signal:  # perhaps in the last moments of a run, which has finished then
                line = "not begun, as the batch was stopped; the same command goes on from there"
                _say(f"{experiment.name}: {line}")
                found = [Outcome(experiment, seed, error=line, state="not begun") for seed in seeds]
            else:
                results = run_together(experiment, seeds, dataset, callbacks, is_chief(experiment), stop=stop)
                stopped = any(isinstance(result, Interrupted) for result in results)
                found = [_outcome(experiment, seed, result) for seed, result in zip(seeds, results, strict=True)]
            outcomes |= {(number, outcome.seed): outcome for outcome in found}
    return [outcomes[number, seed] for number, experiment in enumerate(experiments) for seed in experiment.seeds]


def _outcome(experiment, seed, result):
    """The outcome of a run that returned or raised `result`; what failed is said at once."""
    from cifarzoo.training.trainer import Interrupted

    if not isinstance(result, Exception):
        return Outcome(experiment, seed, results=result)
    line = summarize(result).removeprefix(f"{experiment.location}: ")
    stopped = isinstance(result, Interrupted)
    _say(line if stopped else f"{experiment.location}: failed: {line}")
    return Outcome(experiment, seed, error=line, state="stopped" if stopped else "failed")


def _say(line):
    # Not through rich, which would break an error over several lines.
    print(line, file=sys.stderr, flush=True)


def results_table(outcomes: list[Outcome]) -> rich.table.Table:
    """A table over all runs of a batch."""
    table = rich.table.Table(title="Runs")
    for column in ("experiment", "seed", "data", "steps", "error %", "loss", "minutes", "note"):
        table.add_column(column, justify="left" if column in ("experiment", "data", "note") else "right")
    for outcome in outcomes:
        cells = [outcome.experiment.name, str(outcome.seed), outcome.experiment.dataset]
        if outcome.results:
            split = outcome.experiment.val_split
            found = outcome.results[split]
            minutes = outcome.results["seconds"] / 60
            cells += [
                f"{outcome.results['steps']}",
                f"{found['error']:.2f}",
                f"{found['nll']:.3f}",
                f"{minutes:.1f}",
                split,
            ]
        else:
            cells += ["", "", "", "", outcome.state]
        table.add_row(*cells)
    return table


def only_named(experiments: list[Experiment], names: list[str], path: Path) -> list[Experiment]:
    """The experiments with these names, or all if none is given.

    Raises:
        ExperimentError: a name that is not in the file.
    """
    if not names:
        return experiments
    known = dict.fromkeys(experiment.name for experiment in experiments)
    for name in names:
        if name not in known:
            raise ExperimentError(f"--only {name}: not in {path}, which has {', '.join(known)}")
    return [experiment for name in dict.fromkeys(names) for experiment in experiments if experiment.name == name]
