"""One run: an experiment with one seed, from fresh weights or its last checkpoint to results.json."""

import contextlib
import signal
import time
from typing import NamedTuple

import numpy as np

from cifarzoo.data import Dataset
from cifarzoo.errors import CheckpointError, TrainingError
from cifarzoo.experiment.plan import Plan, stream_indices
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
from cifarzoo.metrics import classification_metrics
from cifarzoo.runs import checkpoint
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.provenance import joined, provenance
from cifarzoo.runs.results import Results
from cifarzoo.training.callbacks import default_callbacks
from cifarzoo.training.checks import check_model
from cifarzoo.training.engines import create_engine, create_group, replica_count
from cifarzoo.training.resolve_auto import settled


class Interrupted(TrainingError):
    """A person or the system asked the run to stop; it has saved and can go on."""


def run(
    experiment: Experiment,
    seed: int,
    dataset: Dataset,
    callbacks=(),
    is_chief: bool = True,
    deadline: float | None = None,
    stop: "StopRequest | None" = None,
) -> dict:
    """Train one run to its end, going on from its checkpoint if there is one.

    Args:
        experiment: What to train.
        seed: One of its seeds.
        dataset: The arrays; must be those that `experiment.dataset` names.
        callbacks: Keras callbacks beside the run's own. `on_train_batch_end` comes once a compiled call (with the
            number of its last step), `on_epoch_end` once a validation, `on_train_end` after the final weights are
            written. No checkpoint holds what they remember.
        is_chief: Whether this process writes; the other workers of a multi-worker run only read.
        deadline: `time.monotonic()` at which to stop, save and raise `Interrupted`.
        stop: Of a batch of runs; without it, Ctrl-C and SIGTERM stop this one.

    Returns:
        What results.json holds.

    Raises:
        TrainingError: the loss is not finite. Interrupted: stopped and saved.
        CheckpointError: the folder is in use, cannot be written, or belongs to another experiment.
    """
    (outcome,) = run_together(experiment, [seed], dataset, callbacks, is_chief, deadline, stop)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def run_together(
    experiment: Experiment,
    seeds: list[int],
    dataset: Dataset,
    callbacks=(),
    is_chief: bool = True,
    deadline: float | None = None,
    stop: "StopRequest | None" = None,
) -> list[dict | Exception]:
    """Train several seeds side by side, those that stand at the same step in one program; see `run`.

    Returns:
        For every seed its results, or the exception that ended it; the others go on.
    """
    if stop is None:
        with (stop := StopRequest()).on_signals():
            return run_together(experiment, seeds, dataset, callbacks, is_chief, deadline, stop)
    replica_count(experiment)  # of several workers one joins the others before anything asks for its devices
    experiment = settled(experiment, seeds)
    with without_tensorflow():
        return _drive([_Run(experiment, seed, dataset, callbacks, is_chief, deadline, stop) for seed in seeds])


class StopRequest:
    """Whether somebody has asked to stop: for a batch of runs one, so that none begins after it.

    Attributes:
        signal: Number of the signal, None before any.
    """

    def __init__(self):
        self.signal = None

    @contextlib.contextmanager
    def on_signals(self):
        """While active, Ctrl-C and SIGTERM stop at the end of the compiled call; a second one stops at once."""

        def ask_to_stop(number, frame):
            if self.signal:
                raise KeyboardInterrupt
            self.signal = number

        try:
            kept = [(number, signal.signal(number, ask_to_stop)) for number in (signal.SIGINT, signal.SIGTERM)]
        except ValueError:  # not the main thread: whoever started it must care for signals
            kept = []
        try:
            yield
        finally:
            for number, handler in kept:
                signal.signal(number, handler)


def _drive(runs):
    """Compute the calls that the runs ask for, the earliest first; the outcome of each in order."""
    generators, pending, outcomes, groups = {run: run.train() for run in runs}, {}, {}, {}

    def advance(run, resume, value):
        pending.pop(run, None)
        try:
            pending[run] = resume(value)
        except StopIteration as end:
            outcomes[run] = end.value
        except Exception as failure:
            outcomes[run] = failure

    for run in runs:
        advance(run, generators[run].send, None)
    while pending:
        earliest = min(call.first_step for call in pending.values())
        together = tuple(run for run, call in pending.items() if call.first_step == earliest)
        calls = [pending[run] for run in together]
        started = time.perf_counter()
        try:
            if len(together) == 1:
                sums = [together[0].engine.train(*calls[0])]
            else:
                if together not in groups:
                    groups[together] = create_group([run.engine for run in together])
                places = np.stack([call.places for call in calls])
                sums = groups[together].train(calls[0].first_step, places, calls[0].learning_rates)
        except Exception as failure:
            for run in together:
                advance(run, generators[run].throw, failure)
            continue
        seconds = (time.perf_counter() - started) / len(together)  # each run's share of the device
        for run, found in zip(together, sums, strict=True):
            advance(run, generators[run].send, (found, seconds))
    return [outcomes[run] for run in runs]


class Call(NamedTuple):
    """What a run asks its engine to train next: the arguments of `train`."""

    first_step: int
    places: np.ndarray
    learning_rates: np.ndarray


class _Run:
    def __init__(self, experiment, seed, dataset, callbacks, is_chief, deadline, stop):
        self.experiment, self.seed, self.dataset = experiment, seed, dataset
        self.folder = RunFolder.of(experiment, seed)
        self.user_callbacks, self.is_chief, self.stop = list(callbacks), is_chief, stop
        self.deadline = float("inf") if deadline is None else deadline
        self.plan = Plan(experiment, len(dataset.split(experiment.train_split).labels))
        self.step, self.seconds = 0, 0.0
        # Full-size images, and seconds, of the calls that compiled nothing: what the rest of the run can be told by.
        self.steady, self.compiled = {"images": 0.0, "seconds": 0.0}, set()
        self.sums = {"loss": 0.0, "error": 0.0, "gradient_norm": 0.0, "steps": 0, "seconds": 0.0}
        self.validated = None, {}

    def train(self):
        """A generator of `Call`s, each to be answered with the sums that `train` of the engine returns and its seconds.

        Its own value is what results.json holds.
        """
        with self.folder.locked() if self.is_chief else contextlib.nullcontext():
            try:
                return (yield from self._train())
            except OSError as failure:
                raise CheckpointError(
                    f"{failure.filename or self.folder}: {failure.strerror or failure}; what the last checkpoint "
                    "holds is safe"
                ) from None

    def _train(self):
        import keras

        # -------------------------------------------------------------- finished already, or to be continued?
        self.folder.check_belongs_to(self.experiment)
        if self.folder.is_finished:
            return self.folder.results().as_dict()
        saved = self.folder.load_checkpoint()
        self.engine = create_engine(self.experiment, self.dataset, self.seed)
        # Now, before anybody edits the code of a run that takes days.
        self.provenance = provenance(self.engine.replicas)
        check_model(self.experiment, self.engine.model, self.engine.share)
        log_length = 0
        if saved:
            arrays, meta = saved
            checkpoint.check_state(self.folder.checkpoint_path, arrays, self.engine.state())
            self.engine.restore(arrays)
            self.step, self.seconds, self.sums = meta["step"], meta["seconds"], meta["sums"]
            self.steady = meta["steady"]
            log_length, self.provenance = meta["log_length"], joined(meta["provenance"], self.provenance)
        elif self.is_chief:
            self.folder.write_config(self.experiment)

        # -------------------------------------------------------------- callbacks
        own = default_callbacks(self.folder, self.experiment, self.plan, self.step, log_length) if self.is_chief else []
        callbacks = keras.callbacks.CallbackList(
            own + self.user_callbacks,
            add_history=True,
            model=self.engine.model,
            epochs=-(-self.plan.total // self.plan.val),
        )
        self.log = own[0] if own else None
        self.engine.model.stop_training = False  # callbacks may set it, as under fit
        callbacks.on_train_begin()
        try:
            yield from self._loop(callbacks)
            results = self._results()
        finally:
            callbacks.on_train_end()
        return results

    # ------------------------------------------------------------------------------------------------ the loop

    def _loop(self, callbacks):
        plan, model = self.plan, self.engine.model
        if self.step == 0:
            self._save()
        while self.step < plan.total and not model.stop_training:
            end = plan.next_end(self.step)
            rates = plan.rates(self.step, end)
            places = stream_indices(
                self.seed, plan.images, self.step * plan.batch_size, (end - self.step) * plan.batch_size
            )
            if self.step % plan.val == 0:
                callbacks.on_epoch_begin(self.step // plan.val)
            callbacks.on_train_batch_begin(self.step)
            sums, elapsed = yield Call(self.step, places.reshape(-1, plan.batch_size), rates)
            if not (np.isfinite(sums["loss"]) and np.isfinite(sums["gradient_norm"])):
                what = "loss" if not np.isfinite(sums["loss"]) else "gradient"
                kept = "; the checkpoint before it is kept" if self.folder.checkpoint_path.exists() else ""
                raise TrainingError(
                    f"{self.experiment.name}, seed {self.seed}: the {what} is not finite between steps {self.step} "
                    f"and {end} (learning rate {rates[-1]:.3g}){kept}; a smaller rate or a longer warm-up may help"
                )
            self.seconds += elapsed
            if (size := plan.image_size(self.step)) in self.compiled:
                self.steady["images"] += plan.full_size_images(self.step, end)
                self.steady["seconds"] += elapsed
            self.compiled.add(size)
            for key, value in sums.items():
                self.sums[key] += value
            self.sums["steps"] += end - self.step
            self.sums["seconds"] += elapsed
            self.step = end
            logs = self._means() | {"learning_rate": float(rates[-1])}
            if plan.is_due(plan.val, end):
                found = self._validate()
                logs |= {
                    "val_loss": found["nll"],
                    "val_error": found["error"],
                    "val_accuracy": 1 - found["error"] / 100,
                    "weight_norm": self._weight_norm(),
                }
                if self.experiment.train_parameters.train_metrics:
                    found = self._measure(self.experiment.train_split)
                    logs |= {"train_loss": found["nll"], "train_error": found["error"]}
            callbacks.on_train_batch_end(end - 1, logs)
            if plan.is_due(plan.val, end):
                callbacks.on_epoch_end((end - 1) // plan.val, logs)
            if plan.is_due(plan.log, end):
                self.sums = dict.fromkeys(self.sums, 0)
            stopping = self.stop.signal or time.monotonic() > self.deadline
            if plan.is_due(plan.checkpoint, end) or stopping:
                self._save()
            if stopping and end < plan.total:
                raise Interrupted(
                    f"{self.experiment.name}, seed {self.seed}: stopped and saved at step {end} of {plan.total}; "
                    "the same command goes on from there"
                )

    def _means(self):
        count = self.sums["steps"]
        means = {key: self.sums[key] / count for key in ("loss", "error", "gradient_norm")}
        speed = count * self.plan.batch_size / self.sums["seconds"]
        return means | {"error": 100 * means["error"], "accuracy": 1 - means["error"], "images_per_second": speed}

    def _validate(self):
        """Metrics on the validation split; the last step's are asked for twice and computed once."""
        if self.validated[0] != self.step:
            self.validated = self.step, self._measure(self.experiment.val_split)
        return self.validated[1]

    def _measure(self, split):
        average = bool(self.experiment.train_parameters.averages)
        return classification_metrics(self.engine.predict(split, average), self.dataset.split(split).labels)

    def _weight_norm(self):
        """L2 norm of all trainable weights, not averaged; the model has the current ones right after `_validate`."""
        values = (v.numpy().astype(np.float64) for v in self.engine.model.trainable_variables)
        return float(np.sqrt(sum(np.sum(np.square(value)) for value in values)))

    # ------------------------------------------------------------------------------------------------ saved state

    def _save(self):
        if not self.is_chief:
            return
        meta = {
            "step": self.step,
            "seconds": self.seconds,
            "steady": self.steady,
            "sums": self.sums,
            "log_length": self.log.flush(),
            "fingerprint": self.experiment.fingerprint(),
            "provenance": self.provenance,
        }
        self.folder.save_checkpoint(self.engine.state(), meta)

    def _results(self):
        experiment, engine = self.experiment, self.engine
        average = experiment.train_parameters.averages
        results = {
            "name": experiment.name,
            "seed": self.seed,
            "model": experiment.model,
            "dataset": experiment.dataset,
            "train_split": experiment.train_split,
            "steps": self.step,
            "images": self.step * self.plan.batch_size,
            experiment.val_split: self._validate(),
            "weights": average or "last step",
            "parameters": int(engine.model.count_params()),
            "seconds": round(self.seconds, 1),
            "images_per_second": round(self.step * self.plan.batch_size / max(self.seconds, 1e-9), 1),
            "fingerprint": experiment.fingerprint(),
        } | self.provenance
        if self.is_chief:
            with self.folder.writing_weights() as path, engine.averaged_weights():
                engine.model.save_weights(path)
            self.folder.write_results(Results.model_validate(results))
        return results
