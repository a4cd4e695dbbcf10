"""A job: one experiment, settled for this machine, that preflight, training, estimates and the queue all take."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from cifarzoo.data import Dataset
from cifarzoo.data.dataset import Split
from cifarzoo.data.info import DatasetInfo
from cifarzoo.data.subsets import is_subset
from cifarzoo.errors import CifarzooError, ExperimentError
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training import engines
from cifarzoo.training.build import build_parts
from cifarzoo.training.engines.batches import check_shares
from cifarzoo.training.engines.interface import Engine
from cifarzoo.training.named_callbacks import check_entries
from cifarzoo.training.parts import Parts
from cifarzoo.training.resolve_auto import resolve_auto
from cifarzoo.training.sources import INITIAL, Sources, hash_weights, sources_of, sources_of_module
from cifarzoo.training.teacher_files import teacher_file
from cifarzoo.training.teacher_models import build_teacher
from cifarzoo.training.training_data import training_data


@dataclass(frozen=True)
class Job:
    """What to train on this machine. `prepare` makes it, and nothing in it is resolved again.

    Attributes:
        experiment: The experiment with its `precision` and `steps_per_call` settled.
        seeds: The experiment's seeds that train together.
        dataset: The arrays, or only their sizes where nothing is to be trained.
        plan: The lengths of a run in steps.
        parts: What an engine trains with.
        replicas: Number of devices that share a batch.
        is_chief: Whether this process writes the runs' files; other workers only compute.
        initial_weights: Hash of the weights of the user's own model, None if the experiment names the model.
        own_teachers: Hashes of the weights of the user's own models that teach; none if the experiment names them.
    """

    experiment: Experiment
    seeds: tuple[int, ...]
    dataset: Dataset | DatasetInfo
    plan: Plan
    parts: Parts
    replicas: int
    is_chief: bool
    initial_weights: str | None = None
    own_teachers: tuple[str, ...] = ()

    def sources(self, seed: int) -> Sources:
        """Hash what a seed's run depends on outside its document; see `check_sources`."""
        own = {INITIAL: [self.initial_weights]} if self.initial_weights else {}
        if not isinstance(self.experiment.dataset, str):
            own |= {f"images of {self.dataset.name}": [self.arrays.digest]}
        return own | self.teacher_sources() | sources_of(self.experiment, seed)

    def teacher_sources(self) -> Sources:
        """Hash the weights of the teachers, as far as they exist, and the user's own modules that build them."""
        hashes: Sources = {}
        for number, name in enumerate(self.experiment.teacher.names if self.experiment.teacher else ()):
            if self.own_teachers:
                hashes[f"teacher {name}"] = [self.own_teachers[number]]
                continue
            with contextlib.suppress(CifarzooError):  # `load_teachers` says what is wrong
                file = teacher_file(name, self.experiment, self.dataset.classes)
                hashes[f"teacher {name}"] = list(file.hashes)
                hashes |= sources_of_module(file.module) if file.module else {}
        return hashes

    def teacher_names(self) -> str:
        """Return the names of the teachers, for messages."""
        return " and ".join(self.experiment.teacher.names) if self.experiment.teacher else ""

    def folder(self, seed: int) -> RunFolder:
        """Return the folder of a seed's run."""
        return RunFolder.of(self.experiment, seed)

    @property
    def arrays(self) -> Dataset:
        """The data set's arrays.

        Raises:
            TypeError: the job was prepared with sizes only, as for an estimate.
        """
        if not isinstance(self.dataset, Dataset):
            raise TypeError(f"the job has only the sizes of {self.dataset.name}; prepare it with the data set to train")
        return self.dataset

    def validation(self) -> Split:
        """Return the images that measure a run, with the data set's own labels where they are training images."""
        split = self.arrays.split(self.experiment.val_split)
        return split.cleaned() if is_subset(self.experiment.val_split) else split

    def create_engine(self, seed: int) -> Engine:
        """Create the engine that trains a seed; needs the data set's arrays."""
        return engines.current().create_engine(self.parts, self.arrays, seed)


def prepare(
    experiment: Experiment,
    dataset: Dataset | DatasetInfo,
    seeds: Sequence[int] | None = None,
    model: keras.Model | None = None,
    teachers: Sequence[keras.Model] = (),
) -> Job:
    """Settle everything about an experiment that depends on this machine, and build its parts except the model.

    In a multi-worker run, `engines.current().join_cluster` comes first.

    Args:
        experiment: The experiment.
        dataset: The data set that it names, or its sizes; the job has it as `labels` and `drop` change it.
        seeds: Those that train together; by default all of the experiment's.
        model: The user's own model, which is trained instead of the one that the experiment names.
        teachers: The user's own models, which teach instead of those that the experiment names.

    Raises:
        ExperimentError: parts of the experiment do not fit each other, the data set or this machine.
        TrainingError: the schedule has no step.
    """
    seeds = tuple(experiment.seeds if seeds is None else seeds)
    module = engines.current()
    replicas = module.replica_count(experiment.distribution)
    check_shares(experiment.train_parameters.batch_size, experiment.train_parameters.accumulate, replicas)
    had_images = is_subset(experiment.val_split) or dataset.size(experiment.val_split)
    dataset = training_data(experiment, dataset)
    images = dataset.size(experiment.train_split)
    if experiment.train_parameters.batch_size > images:
        raise ExperimentError(
            f"{experiment.location}: train_parameters.batch_size: {experiment.train_parameters.batch_size} is more "
            f"than the {images} training images of {dataset.name}"
        )
    if had_images and not dataset.size(experiment.val_split):
        raise ExperimentError(f"{experiment.location}: drop: leaves no images of {experiment.val_split}")
    if not had_images:
        raise ExperimentError(
            f"{experiment.location}: val_split: {experiment.val_split} of {dataset.name} is empty; it has a tenth of "
            "each class, rounded down, so every class needs ten training images"
        )
    check_entries(experiment)
    experiment = resolve_auto(experiment, seeds, images, dataset.inputs.size)
    plan = Plan(experiment, images, dataset.inputs.size)
    parts = build_parts(experiment, dataset, plan, model, build_teacher(experiment, dataset, teachers))
    is_chief, weights = module.is_chief(experiment.distribution), model and hash_weights(model)
    own_teachers = tuple(map(hash_weights, teachers))
    return Job(experiment, seeds, dataset, plan, parts, replicas, is_chief, weights, own_teachers)
