"""Hash what a run depends on outside of its document: the source of its own module, and the weights it starts from.

A run stores these hashes. With others it is neither resumed nor taken for the result.
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

# Hashes by name. A source has two, of its text and of its code without comments, and one of them has to be the same.
Sources = dict[str, list[str]]

INITIAL = "initial weights"


def sources_of(experiment: Experiment, seed: int) -> Sources:
    """Hash the files that an experiment's run depends on, as far as they exist.

    These are its `init_weights`, its `module`, and what that imports from the folder it lies in. Installed packages are
    not among them; their versions are part of a run's results.
    """
    found = {}
    if experiment.init_weights and (path := init_weights_path(experiment, seed)).is_file():
        with path.open("rb") as file:
            found["init_weights"] = [hashlib.file_digest(file, "sha256").hexdigest()]
    for path, root in _module_files(experiment.module) if experiment.module else ():
        text = path.read_bytes().replace(b"\r\n", b"\n")
        found[path.relative_to(root).as_posix()] = [_digest(text), _digest(_code(text))]
    return found


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
    """Check that what a folder's run began with, if it has begun, is what the experiment names today.

    Returns:
        Lines to report: the user's own model had other weights in the beginning.

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
    """Return the source of a module and of what it imports from the same folder, each with that folder."""
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
    except (ImportError, SyntaxError):  # building the model says what is wrong
        return []
    names = [getattr(module, "__file__", None) for module in finder.modules.values()]
    paths = {Path(name).resolve() for name in names if name}
    return [(path, root) for path in sorted(paths) if path.is_relative_to(root) and path.suffix == ".py"]


def _code(text: bytes) -> bytes:
    """Return Python code without comments and layout."""
    return ast.unparse(ast.parse(text)).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
