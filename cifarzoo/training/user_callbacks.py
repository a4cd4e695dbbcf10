"""The user's Keras callbacks: the optimizer that they see, checks that they can work here, and calls to them."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras

from cifarzoo.errors import ExperimentError, TrainingError
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment

Callbacks = Sequence[keras.callbacks.Callback]

# Quantities in the logs of `on_epoch_end`, and whether lower or higher is better.
DIRECTIONS = {
    "loss": "min",
    "error": "min",
    "accuracy": "max",
    "gradient_norm": "min",
    "learning_rate": "min",
    "images_per_second": "max",
    "val_loss": "min",
    "val_error": "min",
    "val_accuracy": "max",
    "weight_norm": "min",
}
# Additional quantities with `train_metrics: true`.
TRAIN_DIRECTIONS = {"train_loss": "min", "train_error": "min"}

SCHEDULE_DECIDES = "the schedule alone sets the learning rate; describe it in train_parameters.schedule"
# Callbacks that would have no effect here, or interfere with what a run does itself.
REFUSED = {
    keras.callbacks.ReduceLROnPlateau: SCHEDULE_DECIDES,
    keras.callbacks.LearningRateScheduler: SCHEDULE_DECIDES,
    keras.callbacks.BackupAndRestore: "every run resumes from its own checkpoint, which this callback would overwrite",
    keras.callbacks.SwapEMAWeights: "set train_parameters.ema_decay; on_epoch_end then sees the averaged weights",
    keras.callbacks.ProgbarLogger: "a run shows its own progress",
}


class CallbackFailed(Exception):
    """A user's callback raised `failure`; the run ends with that exception."""

    def __init__(self, failure: Exception):
        super().__init__(str(failure))
        self.failure = failure


class ScheduledRate(keras.optimizers.SGD):
    """The `model.optimizer` of a run: shows the step and the schedule's rate, and updates nothing.

    `learning_rate` and `iterations` can be read as in any Keras optimizer. As with a Keras optimizer that has a
    schedule, the rate cannot be assigned.
    """

    def show(self, rate: float, step: int) -> None:
        """Set the rate and the step that callbacks read."""
        keras.optimizers.SGD.learning_rate.fset(self, rate)
        self.iterations.assign(step)

    @keras.optimizers.SGD.learning_rate.setter
    def learning_rate(self, value):
        """Raise TypeError, as training would ignore the rate."""
        raise TypeError(f"model.optimizer.learning_rate cannot be assigned: {SCHEDULE_DECIDES}")

    def save_own_variables(self, store):
        """Save nothing: no file needs the step and the rate."""


def check_callbacks(
    callbacks: keras.callbacks.Callback | Iterable[keras.callbacks.Callback], *experiments: Experiment
) -> list[keras.callbacks.Callback]:
    """Check that callbacks can work in this loop, and tell those that monitor a quantity its direction.

    Args:
        callbacks: The user's callbacks, or a single one.
        experiments: Those whose runs they follow.

    Returns:
        The callbacks.

    Raises:
        ExperimentError: a callback cannot work, or would choose by the test images; the message names it and says why.
    """
    train_metrics = bool(experiments) and all(one.train_parameters.train_metrics for one in experiments)
    known = DIRECTIONS | (TRAIN_DIRECTIONS if train_metrics else {})
    only_keras = True
    are_several = isinstance(callbacks, Iterable) and not isinstance(callbacks, (str, keras.callbacks.Callback))
    checked: list[Any] = list(callbacks) if are_several else [callbacks]
    for callback in checked:
        name = type(callback).__name__
        if not isinstance(callback, keras.callbacks.Callback):
            raise ExperimentError(f"callbacks: expected Keras callbacks, got {callback!r:.80}")
        for refused, reason in REFUSED.items():
            if isinstance(callback, refused):
                raise ExperimentError(f"callbacks: {name}: {reason}")
        if getattr(callback, "restore_best_weights", False):
            raise ExperimentError(
                f"callbacks: {name}: restore_best_weights: a run ends with its own last weights; set "
                "train_parameters.best_weights"
            )
        only_keras = only_keras and type(callback).__module__.startswith("keras.")
        monitor = _monitored(callback)
        if monitor is None:
            continue
        if monitor not in known and only_keras:  # a user's own callback may add quantities to the logs
            raise ExperimentError(
                f"callbacks: {name}: monitor: {monitor!r} is not measured; on_epoch_end has {', '.join(known)}"
            )
        if monitor.startswith("val_") and any(one.val_split == "test" for one in experiments):
            raise ExperimentError(
                f"callbacks: {name}: monitor: {monitor} would choose by the test images; set train_split: train45k and "
                "val_split: validation with it"
            )
        if callback.mode == "auto" and monitor in known:  # Keras knows directions of compiled metrics only
            callback.mode = known[monitor]
    return checked


def _monitored(callback: Any) -> str | None:
    """Return the quantity that a callback compares at validations; None if it compares none."""
    if isinstance(callback, keras.callbacks.ModelCheckpoint) and not callback.save_best_only:
        return None
    monitor = getattr(callback, "monitor", None)
    return monitor if isinstance(monitor, str) and hasattr(callback, "mode") else None


class UserCallbacks:
    """Calls the user's callbacks of one run.

    Args:
        callbacks: The user's callbacks, in the order in which they are called.
        model: The engine's model. While this object is in use, it has an `optimizer`.
        plan: The run's plan.
        params: Entries of the callbacks' `params` in addition to epochs, steps and verbose.
    """

    def __init__(self, callbacks: Callbacks, model: keras.Model, plan: Plan, **params: Any):
        self._model, self._plan = model, plan
        self._optimizer = model.optimizer = ScheduledRate(0.0)
        self._list = keras.callbacks.CallbackList(
            list(callbacks),
            add_history=True,
            model=model,
            epochs=-(-plan.total // plan.val),
            steps=min(plan.val, plan.total),
            verbose=1,
            **params,
        )

    def call(self, hook: str, *arguments: Any, steps: int) -> None:
        """Call a hook of all callbacks.

        Args:
            hook: Its name, such as "on_epoch_end".
            arguments: Its arguments.
            steps: Number of steps done. `model.optimizer` shows the rate of the last one; before the first step, the
                rate of that.

        Raises:
            CallbackFailed: a callback raised an exception; its notes name the callback. TrainingError: a callback
                called `sys.exit`.
        """
        last = max(0, steps - 1)
        self._optimizer.show(float(self._plan.rates(last, last + 1)[0]), steps)
        try:
            getattr(self._list, hook)(*arguments)
        except SystemExit as leaving:
            raise TrainingError(f"{self._name_of(leaving)}.{hook}: called sys.exit({leaving.code!r})") from None
        except Exception as failure:
            failure.add_note(f"in the callback {self._name_of(failure)}.{hook}")
            raise CallbackFailed(failure) from failure

    def _name_of(self, failure: BaseException) -> str:
        """Return the class of the callback in which an exception was raised."""
        name, traceback = "callback", failure.__traceback__
        while traceback:
            owner = traceback.tb_frame.f_locals.get("self")
            if any(owner is callback for callback in self._list.callbacks):
                name = type(owner).__name__
            traceback = traceback.tb_next
        return name

    @contextlib.contextmanager
    def without_optimizer(self) -> Iterator[None]:
        """Remove the model's optimizer inside the block, so that the run's files do not depend on callbacks."""
        del self._model.optimizer
        try:
            yield
        finally:
            self._model.optimizer = self._optimizer
