"""Call copies of the user's callbacks once before training, so that none fails at the first validation hours later."""

import contextlib
import copy
import dis
import inspect
import io
import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import keras

from cifarzoo.errors import ExperimentError, summarize
from cifarzoo.experiment.plan import Plan
from cifarzoo.training.user_callbacks import CallbackFailed, Callbacks, UserCallbacks

# Types of surrounding objects that a callback can only read.
SAFE = (ModuleType, FunctionType, BuiltinFunctionType, type, str, bytes, int, float, complex, tuple, frozenset, Path)
# Keras' own callbacks that send data to a server.
SENDS = (keras.callbacks.RemoteMonitor,)


def try_callbacks(callbacks: Callbacks, model: keras.Model, plan: Plan, logs: dict[str, float]) -> None:
    """Call every hook once, as if training consisted of one validation; the user's own objects do not change.

    The hooks of deep copies run in a temporary working directory, without output, and with `params["check"]` set.
    Callbacks that could have side effects are skipped: those of other packages, which may log to their own server;
    those that cannot be copied; and those that refer to a list or another mutable object of the surrounding code.

    Args:
        callbacks: The user's callbacks, already checked by `check_callbacks`.
        model: The model to pass to the callbacks, which may change it.
        plan: The run's plan.
        logs: The logs of a validation.

    Raises:
        ExperimentError: a callback raised an exception or called `sys.exit`.
    """
    copies = [_copy(callback) for callback in callbacks if leaves_no_trace(callback)]
    copies = [duplicate for duplicate in copies if duplicate is not None]
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
        for duplicate in copies:
            _redirect(duplicate, folder)
        with _inside(folder), contextlib.redirect_stdout(io.StringIO()):
            user = UserCallbacks(copies, model, plan, check=True)
            try:
                for hook, arguments in hooks.items():
                    user.call(hook, *arguments, steps=step)
            except CallbackFailed as failed:
                note = getattr(failed.failure, "__notes__", [""])[-1]
                raise ExperimentError(f"callbacks: {summarize(failed.failure)} ({note})") from failed.failure
            finally:
                del model.optimizer


def leaves_no_trace(callback: keras.callbacks.Callback) -> bool:
    """Whether calling a copy of a callback changes nothing except the copy and its files."""
    if isinstance(callback, SENDS):
        return False
    kind = type(callback)
    if kind.__module__.startswith("keras."):
        functions = [value for value in vars(callback).values() if isinstance(value, FunctionType)]
        return not any(_reaches_out(function) for function in functions)
    if _is_installed(kind):
        return False
    classes = [base for base in kind.__mro__ if not base.__module__.startswith("keras.") and base is not object]
    functions = [value for base in classes for value in vars(base).values() if isinstance(value, FunctionType)]
    functions += [value for value in vars(callback).values() if isinstance(value, FunctionType)]
    return not any(map(_is_installed, classes)) and not any(map(_reaches_out, functions))


def _reaches_out(function: FunctionType) -> bool:
    """Whether a function refers to outside objects that it could change."""
    used = inspect.getclosurevars(function)
    outside = [*used.nonlocals.values(), *used.globals.values()]
    return _assigns_outside(function.__code__) or any(
        value is not None and not isinstance(value, SAFE) for value in outside
    )


def _assigns_outside(code: CodeType) -> bool:
    return any(line.opname in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF") for line in dis.get_instructions(code))


def _is_installed(kind: type) -> bool:
    """Whether a class belongs to an installed package."""
    path = getattr(sys.modules.get(kind.__module__), "__file__", None)
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return path is not None and any(Path(path).is_relative_to(folder) for folder in folders)


def _copy(callback: Any) -> Any:
    try:
        return copy.deepcopy(callback)
    except Exception:  # a file, lock or connection in it cannot be copied
        return None


def _redirect(callback: Any, folder: str) -> None:
    """Redirect the files of a copy of a Keras callback into the folder."""
    for name in ("filepath", "filename", "log_dir"):
        path = getattr(callback, name, None)
        if isinstance(path, str) and os.path.isabs(path) and type(callback).__module__.startswith("keras."):
            setattr(callback, name, str(Path(folder, *Path(path).parts[1:])))
            Path(getattr(callback, name)).parent.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _inside(folder: str):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
