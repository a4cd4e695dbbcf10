"""Hash what a run depends on outside its document: the source of its own module, and the weights it starts from.

A run stores these hashes. If they change, the run is neither resumed nor returned as the result.
"""

import ast
import hashlib
import importlib.util
import modulefinder
import sysconfig
from pathlib import Path

import keras
import numpy as np

from cifarzoo.errors import CheckpointError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.folder import RunFolder

# Hashes by name. A source has two: of its text, and of its code without comments. One of them must match.
Sources = dict[str, list[str]]

INITIAL = "initial weights"


def sources_of(experiment: Experiment, seed: int) -> Sources:
    """Hash those files that exist of the ones that an experiment's run depends on.

    These are its `init_weights`, its `module`, and what the module imports from its own folder. Installed packages are
    not included; a run's results have their versions.
    """
    hashes = {}
    if experiment.init_weights and (path := init_weights_path(experiment, seed)).is_file():
        with path.open("rb") as file:
            hashes["init_weights"] = [hashlib.file_digest(file, "sha256").hexdigest()]
    for path, root in _module_files(experiment.module) if experiment.module else ():
        text = path.read_bytes().replace(b"\r\n", b"\n")
        hashes[path.relative_to(root).as_posix()] = [_digest(text), _digest(_code(text))]
    return hashes


def init_weights_path(experiment: Experiment, seed: int) -> Path:
    """Return the path of the weights to start from, with `{logdir}` and `{seed}` filled in."""
    name = experiment.init_weights or ""
    return Path(name.replace("{logdir}", experiment.train_parameters.logdir).replace("{seed}", str(seed)))


def hash_weights(model: keras.Model) -> str:
    """Hash the values of a model's weights."""
    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def check_sources(folder: RunFolder, now: Sources) -> list[str]:
    """Check that the sources of a run have not changed since it began.

    Args:
        folder: The run's folder; a run that has not begun passes.
        now: The present hashes.

    Returns:
        Lines to report: the weights of the user's own model were different when the run began.

    Raises:
        CheckpointError: a file has changed. DataError: the results are damaged.
    """
    earlier: Sources = (
        folder.results().sources if folder.is_finished else (folder.checkpoint_meta() or {}).get("sources", {})
    )
    changed = [name for name, hashes in now.items() if name in earlier and not set(hashes) & set(earlier[name])]
    files = [name for name in changed if name != INITIAL]
    if files:
        raise CheckpointError(
            f"{folder}: {', '.join(files)} changed since this run began; set another run_name, delete the folder, or "
            "restore the file"
        )
    if changed:
        return [f"{folder}: began with other weights than the model has now; set another run_name to start from these"]
    return []


def _module_files(name: str) -> list[tuple[Path, Path]]:
    """Return the source files of a module and of what it imports from its own folder, each with that folder."""
    top = name.partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.origin or spec.origin in ("built-in", "frozen"):
        return []
    root = Path(spec.origin).resolve().parent
    root = root.parent if spec.submodule_search_locations else root
    if any(root.is_relative_to(Path(sysconfig.get_path(key)).resolve()) for key in ("purelib", "platlib", "stdlib")):
        return []
    finder = modulefinder.ModuleFinder(path=[str(root)])
    try:
        finder.import_hook(name)
    except (ImportError, SyntaxError):  # building the model reports the error
        return []
    names = [getattr(module, "__file__", None) for module in finder.modules.values()]
    paths = {Path(name).resolve() for name in names if name}
    return [(path, root) for path in sorted(paths) if path.is_relative_to(root) and path.suffix == ".py"]


def _code(text: bytes) -> bytes:
    """Return Python code without comments and layout."""
    return ast.unparse(ast.parse(text)).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
