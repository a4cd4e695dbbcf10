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

# They only read what surrounds them.
SAFE = (ModuleType, FunctionType, BuiltinFunctionType, type, str, bytes, int, float, complex, tuple, frozenset, Path)
# Keras' own callbacks that send something to a server.
SENDS = (keras.callbacks.RemoteMonitor,)


def try_callbacks(callbacks: Callbacks, model: keras.Model, plan: Plan, logs: dict[str, float]) -> None:
    """Call every hook once, as if the training consisted of one validation; the user's own objects stay as they are.

    Deep copies are called, with a temporary folder as the working directory, without output, and with
    `params["check"]` set. Left out are callbacks that could leave a trace: those of other packages, which log to their
    own server; those that cannot be copied; and those that refer to a list or another object of the code around them.

    Args:
        callbacks: The user's callbacks, which `check_callbacks` has checked.
        model: A model to show them, which may be changed.
        plan: The run's plan.
        logs: The logs of a validation.

    Raises:
        ExperimentError: a callback raised an exception or called `sys.exit`.
    """
    copies = [one for callback in callbacks if leaves_no_trace(callback) and (one := _copy(callback)) is not None]
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
        for one in copies:
            _redirect(one, folder)
        with _inside(folder), contextlib.redirect_stdout(io.StringIO()):
            user = UserCallbacks(copies, model, plan, check=True)
            try:
                for hook, arguments in hooks.items():
                    user.call(hook, *arguments, steps=step)
            except CallbackFailed as failed:
                place = getattr(failed.failure, "__notes__", [""])[-1]
                raise ExperimentError(f"callbacks: {summarize(failed.failure)} ({place})") from failed.failure
            finally:
                del model.optimizer


def leaves_no_trace(callback: keras.callbacks.Callback) -> bool:
    """Whether calling a copy of a callback changes nothing outside of the copy and its files."""
    if isinstance(callback, SENDS):
        return False
    kind = type(callback)
    if kind.__module__.startswith("keras."):
        functions = [value for value in vars(callback).values() if isinstance(value, FunctionType)]
        return not any(_reaches_out(function) for function in functions)
    if _is_installed(kind):
        return False
    classes = [one for one in kind.__mro__ if not one.__module__.startswith("keras.") and one is not object]
    functions = [value for one in classes for value in vars(one).values() if isinstance(value, FunctionType)]
    functions += [value for value in vars(callback).values() if isinstance(value, FunctionType)]
    return not any(_is_installed(one) for one in classes) and not any(map(_reaches_out, functions))


def _reaches_out(function: FunctionType) -> bool:
    """Whether a function refers to objects outside of itself that it could change."""
    used = inspect.getclosurevars(function)
    outside = [*used.nonlocals.values(), *used.globals.values()]
    return _assigns_outside(function.__code__) or any(
        value is not None and not isinstance(value, SAFE) for value in outside
    )


def _assigns_outside(code: CodeType) -> bool:
    return any(line.opname in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF") for line in dis.get_instructions(code))


def _is_installed(kind: type) -> bool:
    """Whether a class belongs to an installed package, which its authors test."""
    path = getattr(sys.modules.get(kind.__module__), "__file__", None)
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return path is not None and any(Path(path).is_relative_to(folder) for folder in folders)


def _copy(callback: Any) -> Any:
    try:
        return copy.deepcopy(callback)
    except Exception:  # it holds a file, a lock, a connection
        return None


def _redirect(callback: Any, folder: str) -> None:
    """Let a copy of one of Keras' callbacks write below the folder."""
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
