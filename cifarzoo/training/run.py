"""One seed of a job: its work before, during and after the training loop in `cifarzoo.training.trainer`.

Longer than 300 lines because its methods share the state of the run.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cifarzoo.checksum import sha256
from cifarzoo.data import Dataset
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.data.info import DatasetInfo
from cifarzoo.errors import CheckpointError, TrainingError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.metrics import classification_metrics, soft_cross_entropy
from cifarzoo.notebook import say
from cifarzoo.pretrained.description import Description, description_of, save_weights
from cifarzoo.runs import atomic, checkpoint
from cifarzoo.runs.provenance import joined, provenance
from cifarzoo.runs.results import Results
from cifarzoo.training import engines
from cifarzoo.training.agreement import agree_on_run, any_says
from cifarzoo.training.build import no_exit
from cifarzoo.training.callbacks import Log, TensorBoard, default_callbacks
from cifarzoo.training.checks import check_model
from cifarzoo.training.job import Job
from cifarzoo.training.keeping import check_kept_size
from cifarzoo.training.meters import Meters
from cifarzoo.training.named_callbacks import build_callbacks
from cifarzoo.training.sources import check_sources
from cifarzoo.training.stopping import Interrupted
from cifarzoo.training.teacher_views import measure_teacher, view_logits
from cifarzoo.training.training_data import count_changes, describe_changes
from cifarzoo.training.user_callbacks import CallbackFailed, Callbacks, UserCallbacks
from cifarzoo.training.watch import Watch


class Run:
    """One seed of a job, while it trains.

    Args:
        job: What to train.
        seed: The seed.
        callbacks: The user's callbacks.

    Attributes:
        step: Number of steps done.
        workers: The other processes that train the same run.
        outcome: None while training, then the `Results` or the exception that ended the run.
    """

    def __init__(self, job: Job, seed: int, callbacks: Callbacks):
        self.job, self.seed, self.folder = job, seed, job.folder(seed)
        self.step = 0
        self.outcome: Results | Exception | None = None
        self._user_callbacks = list(callbacks)
        self.workers = engines.current().workers(job.experiment.distribution)
        self._callbacks: Any = None  # a CallbackList of the run's own callbacks, only while training
        self._user: UserCallbacks | None = None  # only while training, and if the user has callbacks
        self._log: Log | None = None  # the chief's
        self._board: TensorBoard | None = None  # the chief's
        self._lock = contextlib.ExitStack()
        self._meters = Meters(job.plan)
        self._watch = Watch(job.experiment.train_parameters, job.plan)
        self._validated_step: int | None = None
        self._validation: dict[str, float] = {}

    def __str__(self) -> str:
        return f"{self.job.experiment.name}, seed {self.seed}"

    # ------------------------------------------------------------------------------------------------ start and end

    def lock(self) -> None:
        """Lock the folder, as the chief, unless the run is finished: its folder may be read-only."""
        if self.job.is_chief and not self.folder.is_finished:
            self._lock.enter_context(self.folder.locked())
            for folder in (self.folder.path, self.folder.kept.folder):
                atomic.remove_temporary(folder, "weights.h5")

    def start(self) -> None:
        """Build the engine and restore the checkpoint, if any; a finished run ends with its stored results."""
        job, folder = self.job, self.folder
        folder.check_belongs_to(job.experiment)
        self._sources = job.sources(self.seed)
        for line in check_sources(folder, self._sources):
            say(line)
        is_finished = folder.is_finished
        saved = None if is_finished else folder.load_checkpoint()
        step = saved[1]["step"] if saved else 0
        agree_on_run(self.workers, job, self.seed, finished=is_finished, step=step, sources=self._sources)
        if is_finished:
            self.end(folder.results())
            return
        if changes := describe_changes(job.experiment, job.arrays):
            say(f"{self}: {changes}")
        self._user_callbacks += build_callbacks(job.experiment, self.seed, job.is_chief)
        with no_exit(job.experiment.model):
            self.engine = job.create_engine(self.seed)
        self._provenance = provenance(self.engine.replicas)  # now, because the code may be edited during a long run
        check_model(job.experiment, self.engine.model, self.engine.images_at_once)
        check_kept_size(job.experiment, job.plan, self.engine.model)
        log_length = self._restore(*saved) if saved else 0
        if not saved and job.is_chief:
            folder.write_config(job.experiment)
        self._begin_callbacks(log_length)
        if self.step == 0:
            self._keep()
            self.save()
        self._finish_if_done()

    def prepare_teacher(self, is_asked: Callable[[], bool]) -> None:
        """Have the teacher, if there is one, ready to teach; see `cifarzoo.training.teacher_views`.

        Args:
            is_asked: Whether the process was asked to stop.
        """
        job, teacher = self.job, self.engine.teacher
        if teacher is None or job.parts.teacher is None:
            return
        if self.step == 0 and self.seed == job.seeds[0]:
            line = measure_teacher(job, self.engine)
            if job.is_chief:
                say(line)
        if job.parts.teacher.views:
            teacher.keep(view_logits(job, self.engine, self.workers, is_asked))

    def _restore(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> int:
        """Continue from a checkpoint; return the length of the log when it was written."""
        best = self._watch.expected_arrays(self.engine.model) if (meta.get("watch") or {}).get("best") else {}
        checkpoint.check_state(self.folder.checkpoint_path, arrays, self.engine.state() | best)
        self._watch.restore(meta, arrays)
        self.engine.restore({name: array for name, array in arrays.items() if name not in best})
        self.step = meta["step"]
        self._meters.restore(meta)
        self._sources |= meta.get("sources", {})  # keep those with which the run began
        self._provenance = joined(meta["provenance"], self._provenance)
        return meta["log_length"]

    def _begin_callbacks(self, log_length: int) -> None:
        job, plan = self.job, self.job.plan
        own = default_callbacks(self.folder, job.experiment, plan, self.step, log_length) if job.is_chief else []
        self._log = next((callback for callback in own if isinstance(callback, Log)), None)
        self._board = next((callback for callback in own if isinstance(callback, TensorBoard)), None)
        self._callbacks = keras.callbacks.CallbackList(own, model=self.engine.model)
        (self._is_watched,) = any_says(self.workers, f"{self}: callbacks", bool(self._user_callbacks))
        self._trainable = len(self.engine.model.trainable_variables)
        self.engine.model.stop_training = self._watch.stops  # callbacks may set it, as under fit
        self._callbacks.on_train_begin()
        if self._user_callbacks:
            self._user = UserCallbacks(self._user_callbacks, self.engine.model, plan)
            self._user.call("on_train_begin", steps=self.step)
        stops = self.engine.model.stop_training
        (self.engine.model.stop_training,) = any_says(self.workers, f"{self}: on_train_begin", stops)

    def attempt(self, action: Callable[..., None], *arguments: Any) -> None:
        """Call a method of this run unless it has ended; an exception ends this run only."""
        if self.outcome is not None:
            return
        try:
            action(*arguments)
        except Exception as failure:
            self.end(self._cause(failure))

    def _cause(self, failure: Exception) -> Exception:
        """Return the exception to report: the one that a callback raised, or one line about a failed write."""
        if isinstance(failure, CallbackFailed):
            return failure.failure
        if isinstance(failure, OSError):
            path, reason = failure.filename or self.folder, failure.strerror or failure
            return CheckpointError(f"{path}: {reason}; what the last checkpoint holds is safe")
        return failure

    def end(self, outcome: Results | Exception) -> None:
        """End the run with its results, or with the exception that stopped it."""
        if isinstance(outcome, Exception):
            outcome = self.workers.explain(outcome)
        self.outcome = outcome
        try:
            self.close()
        except Exception as failure:  # raised by a callback's on_train_end
            if not isinstance(outcome, Exception):
                self.outcome = self._cause(failure)
        if isinstance(self.outcome, Exception) and not isinstance(self.outcome, Interrupted):
            self.workers.fail(self.outcome)

    def close(self) -> None:
        """End the callbacks and unlock the folder."""
        with self._lock:
            (callbacks, user), self._callbacks, self._user = (self._callbacks, self._user), None, None
            try:
                if callbacks:
                    callbacks.on_train_end()
            finally:  # call the user's callbacks even if the run's own fail, as on a full disk
                if user:
                    # A failed run may have lost its averages with the rest of its state.
                    finished = isinstance(self.outcome, Results)
                    with self._measured_weights() if finished else contextlib.nullcontext():
                        user.call("on_train_end", steps=self.step)

    # ------------------------------------------------------------------------------------------------ the loop's parts

    def before_call(self) -> None:
        """Tell the callbacks that a compiled call begins."""
        if self._user is None:
            return
        if self.step % self.job.plan.val == 0:
            self._user.call("on_epoch_begin", self.step // self.job.plan.val, steps=self.step)
        self._user.call("on_train_batch_begin", self.step, steps=self.step)

    def after_call(self, end: int, sums: dict[str, float], seconds: float) -> None:
        """Account for a compiled call: check, log, validate.

        Args:
            end: Number of steps done after it.
            sums: Sums of loss, error and gradient norm over its steps.
            seconds: Its duration.
        """
        plan = self.job.plan
        rate = float(plan.rates(end - 1, end)[0])
        self._check_finite(end, sums, rate)
        self._meters.add(self.step, end, sums, seconds)
        self.step = end
        logs = self._meters.means() | {"learning_rate": rate}
        validates = plan.is_due(plan.val, end)
        if validates:
            logs |= self._validation_logs()
            self._watch.see(end, self._validate(), self._copy_measured)
            if self._watch.stops:
                self.engine.model.stop_training = True
        self._callbacks.on_train_batch_end(end - 1, logs)
        if self._user:
            self._call_user(self._user, end, logs, validates)
        if self._is_watched:
            self._validated_step = None  # callbacks may have assigned weights
        if len(self.engine.model.trainable_variables) != self._trainable:
            raise TrainingError(
                f"{self}: a callback changed which layers are trainable; set layer.trainable before training"
            )
        if plan.is_due(plan.log, end):
            self._meters.clear()
        self._keep()

    def stop_or_finish(self, stops: bool) -> None:
        """End the run if it was asked to stop (it is saved already) or is done."""
        total = self.job.plan.total
        if stops and self.step < total:
            how = "stopped and saved" if self.job.is_chief else "stopped, as all workers did,"
            again = "the same command resumes it" if self.workers.count == 1 else "the same commands resume it"
            raise Interrupted(f"{self}: {how} at step {self.step} of {total}; {again}")
        self._finish_if_done()

    def _call_user(self, user: UserCallbacks, end: int, logs: dict[str, float], validates: bool) -> None:
        """Call the user's callbacks after a compiled call."""
        self.engine.sync_model()
        user.call("on_train_batch_end", end - 1, logs, steps=end)
        if validates:
            with self._measured_weights():
                user.call("on_epoch_end", (end - 1) // self.job.plan.val, logs, steps=end)

    def _measured_weights(self) -> contextlib.AbstractContextManager[Any]:
        """Inside the block, the model holds the weights that are measured and finally saved."""
        return self.engine.averaged_weights() if self.job.parts.averaging else contextlib.nullcontext()

    def _copy_measured(self) -> list[np.ndarray]:
        """Return copies of the measured weights, in the order of `model.weights`."""
        with self.engine.averaged_weights() as model:
            return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.weights]

    def _return_to_best(self) -> None:
        """Give the engine the weights of the best validation, which are then measured again and saved."""
        groups = ("weights", "averages") if self.job.parts.averaging else ("weights",)
        names = [f"{group}/{number:04d}" for group in groups for number in range(len(self._watch.best_weights))]
        self.engine.restore(self.engine.state() | dict(zip(names, self._watch.best_weights * len(groups), strict=True)))
        self._validated_step = None

    def _finish_if_done(self) -> None:
        total = self.job.plan.total
        if self.step < total and self._watch.stops and self.job.is_chief:
            say(f"{self}: stops at step {self.step} of {total}: {self._watch.reason}")
        if self.step >= total or self.engine.model.stop_training:
            self.end(self._results())

    def _check_finite(self, end: int, sums: dict[str, float], rate: float) -> None:
        for key, name in (("loss", "loss"), ("gradient_norm", "gradient")):
            if not np.isfinite(sums[key]):
                raise TrainingError(
                    f"{self}: the {name} is not finite between steps {self.step} "
                    f"and {end} (learning rate {rate:.3g}){self._kept()}; a smaller rate or a longer warm-up may help"
                )

    def _kept(self) -> str:
        return "; the checkpoint before it is kept" if self.folder.checkpoint_path.exists() else ""

    # ------------------------------------------------------------------------------------------------ measuring

    def _validation_logs(self) -> dict[str, float]:
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

    def _validate(self) -> dict[str, float]:
        """Measure the validation split; the last step's metrics are asked for twice and computed once."""
        if self._validated_step != self.step:
            self._validated_step, self._validation = self.step, self._measure(self.job.experiment.val_split)
        return self._validation

    def _measure(self, split: str) -> dict[str, float]:
        logits = self.engine.predict(split)
        if not np.isfinite(logits).all():
            raise TrainingError(
                f"{self}: the outputs are not finite after {self.step} steps"
                f"{self._kept()}; a smaller rate or a longer warm-up may help"
            )
        arrays = self.job.arrays.split(split)
        metrics = classification_metrics(logits, arrays.labels)
        if arrays.soft_labels is not None:
            metrics["nll"] = soft_cross_entropy(logits, arrays.soft_labels)
        return metrics

    def _weight_norm(self) -> float:
        """L2 norm of all trainable weights, not averaged."""
        self.engine.sync_model()
        values = (v.numpy().astype(np.float64) for v in self.engine.model.trainable_variables)
        return float(np.sqrt(sum(np.sum(np.square(value)) for value in values)))

    # ------------------------------------------------------------------------------------------------ on disk

    def save(self, with_others: bool = False) -> None:
        """Write the checkpoint; with several seeds, it is accepted only when all have written theirs."""
        state = self.engine.state() | self._watch.arrays()
        if not all(np.isfinite(array).all() for array in state.values()):
            raise TrainingError(
                f"{self}: the weights are not finite after {self.step} steps{self._kept()}; a smaller rate or a longer "
                "warm-up may help"
            )
        if not self.job.is_chief:
            return
        meta = {
            "step": self.step,
            "log_length": self._log.flush() if self._log else 0,
            "fingerprint": self.job.experiment.fingerprint(),
            "sources": self._sources,
            "provenance": self._provenance,
        }
        meta |= self._meters.state() | self._watch.meta()
        self.folder.save_checkpoint(state, meta, is_next=with_others)

    def _keep(self) -> None:
        """Keep the measured weights if this step is one of those; before a checkpoint that relies on them."""
        if self.step in self.job.plan.kept and self.job.is_chief:
            self.folder.kept.folder.mkdir(exist_ok=True)
            self._save_weights(self.folder.kept.path(self.step))

    def _save_weights(self, path: Path) -> None:
        """Write the measured weights; the file says what they are."""
        without_optimizer = self._user.without_optimizer() if self._user else contextlib.nullcontext()
        with without_optimizer, self.engine.averaged_weights() as model:
            save_weights(model, path, describe(self.job.experiment, model, self.job.dataset))

    def _results(self) -> Results:
        """Measure the final weights; the chief writes them, then the results, which mark the run as finished."""
        experiment, images = self.job.experiment, self.step * self.job.plan.batch_size
        if self._watch.best:
            self._return_to_best()
        results = Results(
            name=experiment.name,
            seed=self.seed,
            model=experiment.model,
            dataset=experiment.dataset_name,
            train_split=experiment.train_split,
            steps=self.step,
            images=images,
            weights=self._watch.description(experiment.train_parameters.averages),
            parameters=int(self.engine.model.count_params()),
            seconds=round(self._meters.seconds, 1),
            images_per_second=round(images / max(self._meters.seconds, 1e-9), 1),
            fingerprint=experiment.fingerprint(),
            **{experiment.val_split: self._validate()},
            **self._provenance,
            **({"sources": self._sources} if self._sources else {}),
            **({"best_step": self._watch.best["step"]} if self._watch.best else {}),
            **count_changes(experiment, self.job.arrays),
        )
        if self.job.is_chief:
            self._save_weights(self.folder.weights_path)
            results = results.model_copy(update={"weights_sha256": sha256(self.folder.weights_path)})
            if self._board:
                self._board.finish(results)
            self.folder.write_results(results)
        self.workers.exchange(f"{self}: results")
        return results


def describe(experiment: Experiment, model: keras.Model, dataset: Dataset | DatasetInfo | None = None) -> Description:
    """Describe the model of a run, for the attributes of its weight file.

    Args:
        experiment: The run's experiment.
        model: The model.
        dataset: The run's data set, for the names of the classes where it is the user's own.
    """
    names = list(dataset.class_names) if isinstance(dataset, Dataset) and dataset.name not in CLASS_NAMES else None
    if description := description_of(model):
        return replace(description, dataset=experiment.dataset_name, class_names=names)
    return Description(
        module=experiment.module,
        function=experiment.model,
        arguments=experiment.model_parameters,
        classes=model.output_shape[-1],
        dataset=experiment.dataset_name,
        class_names=names,
    )
