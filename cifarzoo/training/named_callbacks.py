"""Build the callbacks that an experiment names, afresh for every run."""

import difflib
import fnmatch
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from cifarzoo.errors import ExperimentError, ModelError, summarize
from cifarzoo.experiment.callbacks import CallbackEntry
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.folder import EVENTS, OWN_FILES, RunFolder
from cifarzoo.runs.kept import KEPT
from cifarzoo.training.side_effects import PATHS
from cifarzoo.training.user_callbacks import check_callbacks
from cifarzoo.user_code import no_exit, user_module


def check_entries(experiment: Experiment) -> None:
    """Check that the callbacks exist and take their arguments, without creating any.

    Raises:
        ExperimentError: one does not; the line names the entry.
    """
    for where, entry in _entries(experiment):
        callback = _class_of(entry, where)
        try:
            signature = inspect.signature(callback)
        except ValueError:  # written in C
            continue
        try:
            signature.bind(**entry.arguments)
        except TypeError as failure:
            names = [name for name, value in signature.parameters.items() if value.kind != value.VAR_KEYWORD]
            takes = f"it takes {', '.join(names)}" if names else "it takes no arguments"
            raise ExperimentError(f"{where}: {entry}: {failure}; {takes}") from None


def build_callbacks(experiment: Experiment, seed: int, is_chief: bool = True) -> list[keras.callbacks.Callback]:
    """Create the callbacks of one run.

    Relative paths of Keras' own callbacks, those that are defaults included, lie in the run's folder, and in all texts
    `{folder}` and `{seed}` stand for it and the seed. Only the chief of several workers has those of Keras that write
    files.

    Raises:
        ExperimentError: a callback cannot be created, cannot work here (see `check_callbacks`), chooses by the test
            images, or would write over a file of the run.
    """
    check_entries(experiment)
    folder = RunFolder.of(experiment, seed)
    callbacks: list[keras.callbacks.Callback] = []
    for where, entry in _entries(experiment):
        arguments = {key: _filled(value, folder, seed) for key, value in entry.arguments.items()}
        paths = _paths(entry, where) if entry.module is None else {}
        if paths and not is_chief:
            continue
        for key, text in paths.items():
            filled = _filled(text, folder, seed)
            path = Path(filled) if text.startswith("{folder}") else folder.path / filled
            if _is_of_a_run(path, folder):
                raise ExperimentError(f"{where}: {entry}: {key}: {text} is a file of the run itself; name another")
            arguments[key] = str(path)
        try:
            with no_exit(str(entry)):
                callback = _class_of(entry, where)(**arguments)
        except ModelError as failure:
            raise ExperimentError(f"{where}: {failure}") from None
        except Exception as failure:  # whatever a user's own constructor raises
            raise ExperimentError(f"{where}: {entry}: {summarize(failure)}") from None
        callbacks.append(callback)
    try:
        return check_callbacks(callbacks, experiment)
    except ExperimentError as failure:
        raise ExperimentError(f"{experiment.location}: {failure}") from None


def _entries(experiment: Experiment) -> Iterator[tuple[str, CallbackEntry]]:
    for number, entry in enumerate(experiment.callbacks):
        yield f"{experiment.location}: callbacks[{number}]", entry


def _class_of(entry: CallbackEntry, where: str) -> Any:
    """Return the class of a callback."""
    if entry.module is None:
        names = [name for name, value in vars(keras.callbacks).items() if _is_callback(value)]
        if entry.name in names:
            return getattr(keras.callbacks, entry.name)
        near = difflib.get_close_matches(entry.name, names, n=2)
        advice = f"did you mean {' or '.join(near)}?" if near else "write `module` if it is your own"
        raise ExperimentError(f"{where}: Keras has no callback {entry.name!r}; {advice}")
    module = user_module(entry.module, f"{where}: module", ExperimentError)
    if not _is_callback(found := getattr(module, entry.name, None)):
        raise ExperimentError(f"{where}: {entry.module} has no subclass of keras.callbacks.Callback {entry.name!r}")
    return found


def _paths(entry: CallbackEntry, where: str) -> dict[str, str]:
    """Return the paths among the arguments of a callback of Keras, as they are written or by default."""
    defaults = {key: value.default for key, value in inspect.signature(_class_of(entry, where)).parameters.items()}
    arguments = defaults | entry.arguments
    return {key: arguments[key] for key in PATHS if isinstance(arguments.get(key), str)}


def _is_of_a_run(path: Path, folder: RunFolder) -> bool:
    """Whether a run in the same logdir writes a file of this path; on some file systems, case does not matter."""
    logdir, target = (Path(os.path.realpath(each).casefold()) for each in (folder.path.parent.parent, path))
    if not target.is_relative_to(logdir):
        return False
    parts = target.relative_to(logdir).parts[2:]  # without name and seed
    if len(parts) == 1 and any(fnmatch.fnmatchcase(parts[0], pattern) for pattern in (*OWN_FILES, EVENTS)):
        return True
    return parts[:1] == (KEPT,)


def _is_callback(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, keras.callbacks.Callback)


def _filled(value: Any, folder: RunFolder, seed: int) -> Any:
    """Return an argument with `{folder}` and `{seed}` filled in; other braces are the callback's own."""
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, folder, seed) for item in value)
    if isinstance(value, dict):
        return {key: _filled(item, folder, seed) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    return value.replace("{folder}", Path(folder.path).as_posix()).replace("{seed}", str(seed))
