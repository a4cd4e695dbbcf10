"""Call copies of the user's callbacks once before training, so that none fails at the first validation hours later."""

import contextlib
import copy
import io
import tempfile
from pathlib import Path
from typing import Any

import keras

from cifarzoo.errors import ExperimentError, TrainingError, summarize
from cifarzoo.experiment.plan import Plan
from cifarzoo.training.side_effects import PATHS, leaves_no_trace
from cifarzoo.training.user_callbacks import CallbackFailed, Callbacks, UserCallbacks


def try_callbacks(callbacks: Callbacks, model: keras.Model, plan: Plan, logs: dict[str, float]) -> None:
    """Call every hook once, as if training consisted of one validation; the user's own objects do not change.

    The hooks of deep copies run in a temporary working directory, without output, and with `params["check"]` set.
    Callbacks that could have side effects are skipped (see `leaves_no_trace`): those of other packages, which may log
    to their own server; those that cannot be copied; and those whose code, or code that it calls, refers to a mutable
    object of the surrounding code, such as a list, or to a path outside the working directory. The check also ends
    without an error when a callback does not find a file, as the file may be in the user's working directory.

    Args:
        callbacks: The user's callbacks, already checked by `check_callbacks`.
        model: The model to pass to the callbacks, which may change it.
        plan: The run's plan.
        logs: The logs of a validation.

    Raises:
        ExperimentError: a callback raised an exception or called `sys.exit`.
    """
    copies = [_copy(callback) for callback in callbacks if leaves_no_trace(callback)]
    copies = [copied for copied in copies if copied is not None]
    if not copies:
        return
    epoch, step = 0, 1
    hooks: dict[str, tuple] = {
        "on_train_begin": (),
        "on_epoch_begin": (epoch,),
        "on_train_batch_begin": (step - 1,),
        "on_train_batch_end": (step - 1, logs),
        "on_epoch_end": (epoch, logs),
        "on_train_end": (),
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for copied in copies:
            _redirect(copied, folder)
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
            user = UserCallbacks(copies, model, plan, check=True)
            try:
                for hook, arguments in hooks.items():
                    user.call(hook, *arguments, steps=step)
            except TrainingError as failure:
                raise ExperimentError(f"callbacks: {failure}") from None
            except CallbackFailed as failed:
                if isinstance(failed.failure, FileNotFoundError):
                    return
                note = getattr(failed.failure, "__notes__", [""])[-1]
                raise ExperimentError(f"callbacks: {summarize(failed.failure)} ({note})") from failed.failure
            finally:
                del model.optimizer


def _copy(callback: Any) -> Any:
    try:
        return copy.deepcopy(callback)
    except Exception:  # a file, lock or connection in it cannot be copied
        return None


def _redirect(callback: Any, folder: str) -> None:
    """Redirect the files of a copy of a callback into the folder."""
    for name in PATHS:
        path = vars(callback).get(name)
        if isinstance(path, (str, Path)):
            parts = [part for part in Path(path).parts if part not in (Path(path).anchor, "..")]
            inside = Path(folder, *parts)
            inside.parent.mkdir(parents=True, exist_ok=True)
            setattr(callback, name, type(path)(inside))
