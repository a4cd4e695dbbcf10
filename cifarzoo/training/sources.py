"""Hash what a run depends on outside its document: the source of its own module, and the weights it starts from.

A run stores these hashes. If they change, the run is neither resumed nor returned as the result.
"""

import ast
import hashlib
import importlib.util
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from cifarzoo.checksum import sha256
from cifarzoo.errors import CheckpointError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.selection import is_weight_path
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.training_data import data_files

# Hashes by name. A source has two: of its text, and of its code without comments. One of them must match.
Sources = dict[str, list[str]]

INITIAL = "initial weights"


def sources_of(experiment: Experiment, seed: int) -> Sources:
    """Hash those files that exist of the ones that an experiment's run depends on.

    These are its `init_weights`, the files of its `labels` and `drop`, its own modules, and what these import
    from their own folders. Installed packages are not included; a run's results have their versions.
    """
    hashes = {}
    weights = initial_weights(experiment, seed)
    if isinstance(weights, Path) and weights.is_file():
        hashes["init_weights"] = [sha256(weights)]
    hashes |= {name: [sha256(file)] for name, file in data_files(experiment).items()}
    for module in experiment.modules:
        hashes |= sources_of_module(module)
    return hashes


def sources_of_module(name: str) -> Sources:
    """Hash a module of the user's and what it imports from its own folder, by path in that folder."""
    return {path: [_digest(text), _digest(_code(text))] for path, text in _module_texts(name).items()}


def initial_weights(experiment: Experiment, seed: int) -> Path | str | None:
    """Return the weights that a seed's run starts from: a file's path, or a tag; None for fresh ones.

    `{logdir}`, `{seed}` and a path's leading `~` are filled in.
    """
    if not experiment.init_weights:
        return None
    name = experiment.init_weights.replace("{logdir}", experiment.train_parameters.logdir).replace("{seed}", str(seed))
    return Path(os.path.expanduser(name)) if is_weight_path(name) else name


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


def _module_texts(name: str) -> dict[str, bytes]:
    """Return the text of a module and of what it imports from its own folder, by path in that folder.

    The result is empty if one of them cannot be parsed; building the model reports the error.
    """
    roots = _roots_of(name)
    texts: dict[str, bytes] = {}
    names, seen = [name], set()
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        parent = name.rpartition(".")[0]
        if parent:
            names.append(parent)
        stem = name.replace(".", "/")
        files = [(root, path) for root in roots for path in (f"{stem}/__init__.py", f"{stem}.py")]
        root, path = next(((root, path) for root, path in files if (root / path).is_file()), (None, ""))
        if root is None:  # a folder without __init__.py, another package, or what a module defines
            continue
        texts[path] = (root / path).read_bytes().replace(b"\r\n", b"\n")
        try:
            tree = ast.parse(texts[path])
        except (SyntaxError, ValueError):
            return {}
        for module, entry in _imports(tree, name if path.endswith("/__init__.py") else parent):
            names.append(module)
            if entry == "*":
                folders = [root / module.replace(".", "/") for root in roots]
                names += [f"{module}.{file.stem}" for folder in folders for file in folder.glob("[!_]*.py")]
            elif entry:
                names.append(f"{module}.{entry}")
    return dict(sorted(texts.items()))


def _roots_of(name: str) -> list[Path]:
    """Return the folders that a module's top package lies in, except those of installed packages."""
    spec = importlib.util.find_spec(name.partition(".")[0])
    if spec is None or spec.origin in ("built-in", "frozen"):
        return []
    if spec.submodule_search_locations is not None:  # several if none of them has an __init__.py
        roots = [Path(location).resolve().parent for location in spec.submodule_search_locations]
    else:
        roots = [Path(spec.origin).resolve().parent] if spec.origin else []
    installed = [Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib", "stdlib")]
    return [root for root in roots if not any(root.is_relative_to(folder) for folder in installed)]


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    """Yield each module that code of a package imports, and the entry imported from it, or ""."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            parents = parents[: len(parents) + 1 - node.level] if node.level else []
            module = ".".join(filter(None, [*parents, node.module]))
            yield from ((module, alias.name) for alias in node.names if module)


def _code(text: bytes) -> bytes:
    """Return Python code without comments and layout."""
    return ast.unparse(ast.parse(text)).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
