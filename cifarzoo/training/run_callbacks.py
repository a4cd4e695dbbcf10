"""The callbacks of one run: its own, which log, and after them the user's."""

import contextlib
from typing import Any

import keras

from cifarzoo.errors import TrainingError
from cifarzoo.runs.results import Results
from cifarzoo.training.agreement import any_says
from cifarzoo.training.callbacks import Log, TensorBoard, default_callbacks
from cifarzoo.training.run_state import RunState
from cifarzoo.training.user_callbacks import Callbacks, UserCallbacks


class RunCallbacks:
    """Calls the callbacks of one run.

    Args:
        run: The run.
        users: The user's callbacks.

    Attributes:
        users: The user's callbacks; add to them before `begin`.
        may_assign: Whether those of any worker may assign weights.
    """

    def __init__(self, run: RunState, users: Callbacks):
        self._run, self.users, self.may_assign = run, list(users), False
        self._own: Any = None  # a CallbackList, only while training
        self._user: UserCallbacks | None = None  # only while training, and if the user has callbacks
        self._log: Log | None = None  # the chief's
        self._board: TensorBoard | None = None  # the chief's

    def begin(self, log_length: int, stops: bool) -> None:
        """Call `on_train_begin`.

        Args:
            log_length: Length of the log to continue.
            stops: Whether training is to stop at once; callbacks may ask for it by `model.stop_training`, as under fit.
        """
        run, job, model = self._run, self._run.job, self._run.engine.model
        own = default_callbacks(run.folder, job.experiment, job.plan, run.step, log_length) if job.is_chief else []
        self._log = next((callback for callback in own if isinstance(callback, Log)), None)
        self._board = next((callback for callback in own if isinstance(callback, TensorBoard)), None)
        self._own = keras.callbacks.CallbackList(own, model=model)
        (self.may_assign,) = any_says(run.workers, f"{run}: callbacks", bool(self.users))
        self._trainable = len(model.trainable_variables)
        model.stop_training = stops
        self._own.on_train_begin()
        if self.users:
            self._user = UserCallbacks(self.users, model, job.plan)
            self._user.call("on_train_begin", steps=run.step)
        (model.stop_training,) = any_says(run.workers, f"{run}: on_train_begin", model.stop_training)

    def before_call(self) -> None:
        """Tell the user's callbacks that a compiled call begins."""
        if self._user is None:
            return
        step, interval = self._run.step, self._run.job.plan.val
        if step % interval == 0:
            self._user.call("on_epoch_begin", step // interval, steps=step)
        self._user.call("on_train_batch_begin", step, steps=step)

    def after_call(self, logs: dict[str, float], validates: bool) -> None:
        """Call the callbacks after a compiled call.

        Args:
            logs: What they see.
            validates: Whether a validation is among it.

        Raises:
            TrainingError: one of them changed which layers are trainable.
        """
        end, engine = self._run.step, self._run.engine
        self._own.on_train_batch_end(end - 1, logs)
        if self._user:
            engine.sync_model()
            self._user.call("on_train_batch_end", end - 1, logs, steps=end)
            if validates:
                with self._run.measured_weights():
                    self._user.call("on_epoch_end", (end - 1) // self._run.job.plan.val, logs, steps=end)
        if len(engine.model.trainable_variables) != self._trainable:
            raise TrainingError(
                f"{self._run}: a callback changed which layers are trainable; set layer.trainable before training"
            )

    def end(self, is_finished: bool) -> None:
        """Call `on_train_end`, once.

        Args:
            is_finished: Whether the run has results; a failed one may have lost its averages with its state.
        """
        (own, user), self._own, self._user = (self._own, self._user), None, None
        try:
            if own:
                own.on_train_end()
        finally:  # call the user's callbacks even if the run's own fail, as on a full disk
            if user:
                with self._run.measured_weights() if is_finished else contextlib.nullcontext():
                    user.call("on_train_end", steps=self._run.step)

    def without_optimizer(self) -> contextlib.AbstractContextManager[Any]:
        """Inside the block, the model has no optimizer, so that the run's files do not depend on callbacks."""
        return self._user.without_optimizer() if self._user else contextlib.nullcontext()

    def flush_log(self) -> int:
        """Write the log to disk, and return its length."""
        return self._log.flush() if self._log else 0

    def show_results(self, results: Results) -> None:
        """Show the final results where the callbacks log."""
        if self._board:
            self._board.finish(results)
