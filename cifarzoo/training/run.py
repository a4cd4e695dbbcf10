"""One run while it trains: start or resume, account for every compiled call, save, finish."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cifarzoo.errors import CheckpointError, TrainingError
from cifarzoo.metrics import classification_metrics
from cifarzoo.pretrained.description import save_weights
from cifarzoo.runs import checkpoint
from cifarzoo.runs.provenance import joined, provenance
from cifarzoo.runs.results import Results
from cifarzoo.training.build import describe
from cifarzoo.training.callbacks import Log, default_callbacks
from cifarzoo.training.checks import check_model
from cifarzoo.training.engines.interface import SUMS
from cifarzoo.training.job import Job
from cifarzoo.training.stopping import Interrupted, StopRequest

Callbacks = Sequence[keras.callbacks.Callback]


class Run:
    """One seed of a job, while it trains.

    Args:
        job: What to train.
        seed: The seed.
        callbacks: The user's callbacks.
        stop: Whether somebody has asked to stop.
        deadline: `time.monotonic()` at which to stop, or None.

    Attributes:
        step: Number of steps done.
        outcome: None while training, then the `Results` or the exception that ended the run.
    """

    def __init__(self, job: Job, seed: int, callbacks: Callbacks, stop: StopRequest, deadline: float | None):
        self.job, self.seed, self.folder = job, seed, job.folder(seed)
        self.step = 0
        self.outcome: Results | Exception | None = None
        self._user_callbacks, self._stop, self._deadline = list(callbacks), stop, deadline
        self._callbacks: Any = None  # a CallbackList while training
        self._log: Log | None = None  # the chief's
        self._lock = contextlib.ExitStack()
        self._seconds = 0.0
        # Full-size images and seconds of calls that did not compile, to extrapolate the time left.
        self._steady = {"images": 0.0, "seconds": 0.0}
        self._compiled_sizes: set[int] = set()
        self._clear_sums()
        self._validated_step: int | None = None
        self._validation: dict[str, float] = {}

    # ------------------------------------------------------------------------------------------------ start and end

    def start(self) -> None:
        """Lock the folder, build the engine, restore the checkpoint if there is one; take over finished results."""
        job, folder = self.job, self.folder
        if job.is_chief:
            self._lock.enter_context(folder.locked())
        folder.check_belongs_to(job.experiment)
        if folder.is_finished:
            self.end(folder.results())
            return
        saved = folder.load_checkpoint()
        self.engine = job.create_engine(self.seed)
        self._provenance = provenance(self.engine.replicas)  # now, before anybody edits the code of a long run
        check_model(job.experiment, self.engine.model, self.engine.images_at_once)
        log_length = self._restore(*saved) if saved else 0
        if not saved and job.is_chief:
            folder.write_config(job.experiment)
        self._begin_callbacks(log_length)
        if self.step == 0:
            self._save()
        self._finish_if_done()

    def _restore(self, arrays, meta):
        """Continue from a checkpoint; returns the length of the log at that time."""
        checkpoint.check_state(self.folder.checkpoint_path, arrays, self.engine.state())
        self.engine.restore(arrays)
        self.step, self._seconds = meta["step"], meta["seconds"]
        self._sums, self._steady = meta["sums"], meta["steady"]
        self._provenance = joined(meta["provenance"], self._provenance)
        return meta["log_length"]

    def _begin_callbacks(self, log_length):
        job, plan = self.job, self.job.plan
        own = default_callbacks(self.folder, job.experiment, plan, self.step, log_length) if job.is_chief else []
        self._log = next((one for one in own if isinstance(one, Log)), None)
        self._callbacks = keras.callbacks.CallbackList(
            own + self._user_callbacks, add_history=True, model=self.engine.model, epochs=-(-plan.total // plan.val)
        )
        self.engine.model.stop_training = False  # callbacks may set it, as under fit
        self._callbacks.on_train_begin()

    def attempt(self, action, *arguments) -> None:
        """Call a method of this run; an exception ends this run only."""
        try:
            action(*arguments)
        except OSError as failure:
            self.end(
                CheckpointError(
                    f"{failure.filename or self.folder}: {failure.strerror or failure}; what the last checkpoint "
                    "holds is safe"
                )
            )
        except Exception as failure:
            self.end(failure)

    def end(self, outcome: Results | Exception) -> None:
        """End the run with its results, or with the exception that stopped it."""
        self.outcome = outcome
        try:
            self.close()
        except Exception as failure:  # of a callback's on_train_end
            if not isinstance(outcome, Exception):
                self.outcome = failure

    def close(self) -> None:
        """End the callbacks and unlock the folder."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks, None
            if callbacks:
                callbacks.on_train_end()

    # ------------------------------------------------------------------------------------------------ the loop's parts

    def before_call(self) -> None:
        """Tell the callbacks that a compiled call begins."""
        if self.step % self.job.plan.val == 0:
            self._callbacks.on_epoch_begin(self.step // self.job.plan.val)
        self._callbacks.on_train_batch_begin(self.step)

    def after_call(self, end: int, sums: dict[str, float], seconds: float) -> None:
        """Account for a compiled call: check, log, validate, save, stop.

        Args:
            end: Number of steps done after it.
            sums: Sums of loss, error and gradient norm over its steps.
            seconds: What it took.
        """
        plan = self.job.plan
        rate = float(plan.rates(end - 1, end)[0])
        self._check_finite(end, sums, rate)
        self._add(end, sums, seconds)
        self.step = end
        logs = self._means() | {"learning_rate": rate}
        validates = plan.is_due(plan.val, end)
        if validates:
            logs |= self._validation_logs()
        if self._user_callbacks:
            self.engine.sync_model()
        self._callbacks.on_train_batch_end(end - 1, logs)
        if validates:
            self._callbacks.on_epoch_end((end - 1) // plan.val, logs)
        if plan.is_due(plan.log, end):
            self._clear_sums()
        is_late = self._deadline is not None and time.monotonic() > self._deadline
        stops = is_late or self._stop.signal is not None
        if plan.is_due(plan.checkpoint, end) or stops:
            self._save()
        if stops and end < plan.total:
            raise Interrupted(
                f"{self.job.experiment.name}, seed {self.seed}: stopped and saved at step {end} of {plan.total}; "
                "the same command resumes it"
            )
        self._finish_if_done()

    def _finish_if_done(self):
        if self.step >= self.job.plan.total or self.engine.model.stop_training:
            self.end(self._results())

    def _check_finite(self, end, sums, rate):
        for key, name in (("loss", "loss"), ("gradient_norm", "gradient")):
            if not np.isfinite(sums[key]):
                kept = "; the checkpoint before it is kept" if self.folder.checkpoint_path.exists() else ""
                raise TrainingError(
                    f"{self.job.experiment.name}, seed {self.seed}: the {name} is not finite between steps {self.step} "
                    f"and {end} (learning rate {rate:.3g}){kept}; a smaller rate or a longer warm-up may help"
                )

    # ------------------------------------------------------------------------------------------------ numbers

    def _clear_sums(self):
        self._sums = dict.fromkeys((*SUMS, "steps", "seconds"), 0.0)

    def _add(self, end, sums, seconds):
        """Add a call to the sums of the log interval and to the times."""
        self._seconds += seconds
        if (size := self.job.plan.image_size(self.step)) in self._compiled_sizes:
            self._steady["images"] += self.job.plan.full_size_images(self.step, end)
            self._steady["seconds"] += seconds
        self._compiled_sizes.add(size)
        for key, value in (sums | {"steps": end - self.step, "seconds": seconds}).items():
            self._sums[key] += value

    def _means(self):
        steps = self._sums["steps"]
        means = {key: self._sums[key] / steps for key in SUMS}
        speed = steps * self.job.plan.batch_size / self._sums["seconds"]
        return means | {"error": 100 * means["error"], "accuracy": 1 - means["error"], "images_per_second": speed}

    def _validation_logs(self):
        metrics = self._validate()
        logs = {
            "val_loss": metrics["nll"],
            "val_error": metrics["error"],
            "val_accuracy": 1 - metrics["error"] / 100,
            "weight_norm": self._weight_norm(),
        }
        if self.job.experiment.train_parameters.train_metrics:
            metrics = self._measure(self.job.experiment.train_split)
            logs |= {"train_loss": metrics["nll"], "train_error": metrics["error"]}
        return logs

    def _validate(self):
        """Measure the validation split; the last step's metrics are asked for twice and computed once."""
        if self._validated_step != self.step:
            self._validated_step, self._validation = self.step, self._measure(self.job.experiment.val_split)
        return self._validation

    def _measure(self, split):
        return classification_metrics(self.engine.predict(split), self.job.arrays.split(split).labels)

    def _weight_norm(self):
        """L2 norm of all trainable weights, not averaged."""
        self.engine.sync_model()
        values = (v.numpy().astype(np.float64) for v in self.engine.model.trainable_variables)
        return float(np.sqrt(sum(np.sum(np.square(value)) for value in values)))

    # ------------------------------------------------------------------------------------------------ on disk

    def _save(self):
        if not self.job.is_chief:
            return
        meta = {
            "step": self.step,
            "seconds": self._seconds,
            "steady": self._steady,
            "sums": self._sums,
            "log_length": self._log.flush() if self._log else 0,
            "fingerprint": self.job.experiment.fingerprint(),
            "provenance": self._provenance,
        }
        self.folder.save_checkpoint(self.engine.state(), meta)

    def _results(self):
        """Measure the final weights; the chief writes them, then the results, which mark the run as finished."""
        experiment, images = self.job.experiment, self.step * self.job.plan.batch_size
        results = Results(
            name=experiment.name,
            seed=self.seed,
            model=experiment.model,
            dataset=experiment.dataset,
            train_split=experiment.train_split,
            steps=self.step,
            images=images,
            weights=experiment.train_parameters.averages or "last step",
            parameters=int(self.engine.model.count_params()),
            seconds=round(self._seconds, 1),
            images_per_second=round(images / max(self._seconds, 1e-9), 1),
            fingerprint=experiment.fingerprint(),
            **{experiment.val_split: self._validate()},
            **self._provenance,
        )
        if self.job.is_chief:
            with self.engine.averaged_weights() as model:
                save_weights(model, self.folder.weights_path, describe(experiment, model))
            self.folder.write_results(results)
        return results
