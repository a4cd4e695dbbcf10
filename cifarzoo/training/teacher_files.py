"""Find the weights that a name in an experiment's `teacher` stands for, and hash them."""

from dataclasses import dataclass
from pathlib import Path

from cifarzoo.checksum import sha256
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.models import registry
from cifarzoo.models.catalogue import catalogue
from cifarzoo.pretrained.description import Description, read_description
from cifarzoo.pretrained.manifest import find_entry, manifest
from cifarzoo.pretrained.selection import foreign_entry, is_weight_path, select, source_named
from cifarzoo.runs.folder import RunFolder

# Follows the name of a model that was passed to `cifarzoo.train`.
FROM_PYTHON = " (passed from Python)"


@dataclass(frozen=True)
class TeacherFile:
    """What the name of a teacher stands for.

    Attributes:
        name: A tag, another project's checkpoint, the path of a weight file, or the folder of a run.
        hashes: Hashes of the weights, any of which identifies them. May be empty.
        dataset: The data set that they were trained on, None if unknown.
        module: The user's own module that builds the network, None for the zoo's networks and `.keras` files.
        class_names: What its outputs mean, where its file says it, else ().
    """

    name: str
    hashes: tuple[str, ...]
    dataset: str | None
    module: str | None = None
    class_names: tuple[str, ...] = ()


def is_yet_to_be_trained(experiment: Experiment) -> bool:
    """Whether a teacher is a file or folder in `{logdir}` that does not exist yet: an earlier experiment writes it."""
    logdir = experiment.train_parameters.logdir
    names = experiment.teacher.names if experiment.teacher else ()
    return any("{logdir}" in name and not Path(name.replace("{logdir}", logdir)).exists() for name in names)


def teacher_file(name: str, experiment: Experiment, classes: int) -> TeacherFile:
    """Find what a name in `teacher.model` stands for.

    Args:
        name: A tag, another project's checkpoint, the path of a `.weights.h5` or `.keras` file, the folder of a
            finished run, or a network of the zoo, which stands for its default weights.
        experiment: The experiment; `{logdir}` in a path stands for its `logdir`.
        classes: Number of classes, for the default weights.

    Raises:
        CifarzooError: there is no such network, or its file is missing or damaged.
    """
    if name.endswith(FROM_PYTHON):
        raise ExperimentError(f"{name}: only Python can pass it again; give its weights as a file instead")
    path = Path(name.replace("{logdir}", experiment.train_parameters.logdir)).expanduser()
    if path.is_dir():
        weights = RunFolder(path).final_weights()
        description = read_description(weights) or Description()
        names = tuple(description.class_names or ())
        module = RunFolder(path).experiment().module
        return TeacherFile(str(path), (sha256(weights),), description.dataset, module, names)
    if is_weight_path(name):
        description = source_named(path, registry.build_described).description or Description()
        names = tuple(description.class_names or ())
        return TeacherFile(str(path), (sha256(path),), description.dataset, class_names=names)
    if foreign := foreign_entry(name):
        hashes = [value for files in foreign.files for file in files for value in file.hashes.values()]
        return TeacherFile(foreign.name, tuple(hashes), foreign.dataset)
    if "/" in name:
        raise ExperimentError(
            f"{path}: neither the folder of a run nor another project's checkpoint: see `cifarzoo import --list`"
        )
    entry = find_entry(name, manifest())
    if entry is None and name in catalogue():
        entry = select(name, registry.get(name).architecture({}), classes, True)
    if entry is None:
        source = source_named(name, registry.build_described)  # raises, and names the nearest tags
        return TeacherFile(source.origin, (sha256(source.path),), None)
    return TeacherFile(entry.tag, (entry.sha256,), entry.dataset)
