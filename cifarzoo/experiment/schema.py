"""The schema of an experiment: checked data with defaults, which knows no Keras.

The keys `module`, `model`, `model_parameters`, `train_parameters` and `skip_error_test` are those of
cifar-vs-tensorflow2. Its files run unchanged, except for model arguments that have no counterpart here. An error names
the file, the document and the key.
"""

import hashlib
import html
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, PrivateAttr, model_validator

from cifarzoo.augment.entries import Augmentation
from cifarzoo.augment.own_spec import KerasLayer, OwnFunction
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.data.info import info
from cifarzoo.data.own_data import DatasetSource
from cifarzoo.data.subsets import is_subset, parse
from cifarzoo.errors import DataError
from cifarzoo.experiment.callbacks import CallbackSetting
from cifarzoo.experiment.fingerprints import decisive
from cifarzoo.experiment.hints import HINTS, SEED_ARGUMENTS, SEED_MODEL_PARAMETERS, SEED_MODULES
from cifarzoo.experiment.labels import Drop, Labels
from cifarzoo.experiment.optimizers import SGD_KEYS
from cifarzoo.experiment.resizing import FULL_SIZE, ImageSizes
from cifarzoo.experiment.schedules import Lengths
from cifarzoo.experiment.splits import TrainSplit, ValSplit
from cifarzoo.experiment.teacher import TeacherSetting, check_views
from cifarzoo.experiment.train_parameters import TrainParameters
from cifarzoo.strict_model import (
    Argument,
    Boolean,
    FunctionName,
    ModuleName,
    PathText,
    PositiveWholeNumber,
    Strict,
    WholeNumber,
)


class InMemory(Strict):
    """Hashes of what `cifarzoo.train` was called with instead of names, so that a run resumes with the same only."""

    model: str | None = None
    dataset: str | None = None


class Experiment(Strict):
    """One document of an experiments file; each of its `seeds` is one run."""

    hints = HINTS
    further_keys = ("recipe", "grid", "seed")

    model: FunctionName
    description: str = Field("", max_length=100_000)
    module: ModuleName | None = None
    model_parameters: dict[str, Argument] = {}
    train_parameters: TrainParameters = TrainParameters()
    skip_error_test: Boolean = False
    dataset: DatasetSource = "cifar10"
    data_dir: PathText | None = None
    labels: Labels | None = None
    drop: Drop | None = None
    train_split: TrainSplit = "train"
    val_split: ValSplit = "test"
    augmentation: Augmentation = "standard"
    seeds: list[Annotated[WholeNumber, Field(ge=0, lt=2**31)]] = Field([0], min_length=1)
    seeds_at_once: PositiveWholeNumber = 1
    precision: Literal["auto", "float32", "bfloat16", "float64"] = "float32"
    distribution: Literal["none", "mirrored", "multi_worker", "tpu", "auto"] = "auto"
    backend: Literal["tensorflow", "jax"] | None = None
    xla: Boolean = False
    init_weights: PathText | None = None
    teacher: TeacherSetting | None = None
    callbacks: list[CallbackSetting] = Field([], max_length=100)
    in_memory: InMemory | None = None

    @model_validator(mode="before")
    @classmethod
    def _earlier_spellings(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        document = dict(document)
        if isinstance(module := document.get("module"), str) and module in SEED_MODULES:
            document["module"] = None
        if isinstance(parameters := document.get("model_parameters", {}), dict):
            document["model_parameters"] = {SEED_MODEL_PARAMETERS.get(k, k): v for k, v in parameters.items()}
        if "seed" in document and "seeds" not in document:
            document["seeds"] = [document.pop("seed")]
        return document

    @model_validator(mode="after")
    def _arguments_have_our_names(self) -> Self:
        is_zoo_model = self.module is None and not (self.in_memory and self.in_memory.model)
        if is_zoo_model and (earlier := [key for key in self.model_parameters if key in SEED_ARGUMENTS]):
            answers = "\n".join(f"model_parameters.{key}: {SEED_ARGUMENTS[key]}" for key in earlier)
            raise ValueError(answers)
        return self

    @model_validator(mode="after")
    def _dataset_exists_and_fills_a_batch(self) -> Self:
        if not isinstance(self.dataset, str):
            return self  # only its files know the number of images
        if self.dataset not in CLASS_NAMES and not (self.in_memory and self.in_memory.dataset):
            raise ValueError(
                f"dataset: expected {', '.join(CLASS_NAMES)}, got {self.dataset!r}; images of your own are "
                "{folder: PATH}, {arrays: FILE.npz} or {tfds: NAME}"
            )
        batch_size = self.train_parameters.batch_size
        if self.dataset not in CLASS_NAMES or (is_subset(self.train_split) and parse(self.train_split).files):
            return self  # only the arrays, or the file of positions, know the number of images
        try:
            images = info(self.dataset).size(self.train_split)
        except DataError as failure:
            raise ValueError(f"train_split: {failure}") from None
        if batch_size > images:
            raise ValueError(
                f"train_parameters.batch_size: {batch_size} is more than the {images} training images of {self.dataset}"
            )
        return self

    @model_validator(mode="after")
    def _stages_have_smaller_images(self) -> Self:
        full_size = FULL_SIZE if isinstance(self.dataset, str) else self.dataset.known_size
        if self.in_memory and self.in_memory.dataset:
            full_size = None  # only the arrays know it, as for a file of arrays
        for number, stage in enumerate(self.train_parameters.progressive_resizing):
            if full_size and stage.size >= full_size:
                key = f"train_parameters.progressive_resizing[{number}].size"
                raise ValueError(f"{key}: must be less than {full_size}, got {stage.size}")
        return self

    @model_validator(mode="after")
    def _layers_are_not_compiled_by_xla(self) -> Self:
        entries = self.augmentation if isinstance(self.augmentation, list) else []
        if self.xla and (layers := [entry.layer for entry in entries if isinstance(entry, KerasLayer)]):
            raise ValueError(
                f"xla: must be false with Keras' {layers[0]} as an augmentation, which XLA may not compile, got true"
            )
        return self

    @model_validator(mode="after")
    def _splits_fit(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ, got {self.seeds}")
        if self.train_split == "train" and self.val_split == "validation":
            raise ValueError("val_split: validation is part of train; choose train_split: train45k with it")
        return self

    @model_validator(mode="after")
    def _views_are_of_single_images(self) -> Self:
        if self.teacher and self.teacher.views:
            check_views(self.augmentation)
        return self

    @model_validator(mode="after")
    def _callbacks_follow_one_run(self) -> Self:
        if self.callbacks and self.seeds_at_once > 1:
            raise ValueError("seeds_at_once: callbacks follow one run at a time; set it to 1 to have your own")
        return self

    @model_validator(mode="after")
    def _chooses_by_validation(self) -> Self:
        """The test images measure what was chosen, so nothing is chosen by them."""
        keys = [key for key in ("early_stopping", "best_weights") if getattr(self.train_parameters, key)]
        if keys and self.val_split == "test":
            raise ValueError(
                "\n".join(
                    f"train_parameters.{key}: would choose by the test images; set train_split: train45k and "
                    "val_split: validation with it"
                    for key in keys
                )
            )
        return self

    _source: str = PrivateAttr("")
    _folders: list[Path] = PrivateAttr(default_factory=list)
    _varied: list[str] = PrivateAttr(default_factory=list)

    def model_post_init(self, context: Any) -> None:
        """Keep where the experiment was read from: `source`, `folders` and `varied` of the validation's context."""
        self._source = (context or {}).get("source", "")
        self._folders = list((context or {}).get("folders", ()))
        self._varied = list((context or {}).get("varied", ()))

    def __repr__(self) -> str:
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        name = f"{self.module}.{self.model}" if self.module else self.model
        return f"<Experiment {self.name}: {name} on {self.dataset_name}, {seeds}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        keys = self.model_dump(mode="json", exclude_unset=True)
        document = yaml.safe_dump(keys, sort_keys=False, default_flow_style=None, width=100)
        return f"<div><b>{html.escape(self.name)}</b><pre>{html.escape(document)}</pre></div>"

    @property
    def folders(self) -> list[Path]:
        """Where to look for files that the experiment names, before the working directory."""
        return self._folders

    @property
    def varied(self) -> list[str]:
        """Dotted keys that the grid of its document sets; empty for an experiment without a grid."""
        return self._varied

    @property
    def location(self) -> str:
        """The file, document and name of the experiment, for messages."""
        return f"{self._source} ({self.name})" if self._source else self.name

    @property
    def name(self) -> str:
        """The run's name: `train_parameters.run_name`, by default the model's."""
        return self.train_parameters.run_name or self.model

    @property
    def seed_groups(self) -> list[list[int]]:
        """The seeds in order, in groups of `seeds_at_once` that train together."""
        size = self.seeds_at_once
        return [self.seeds[first : first + size] for first in range(0, len(self.seeds), size)]

    @property
    def dataset_name(self) -> str:
        """The data set's name: its own, or that of its folder or file."""
        return self.dataset if isinstance(self.dataset, str) else self.dataset.known_name

    @property
    def modules(self) -> list[str]:
        """The user's own modules that the experiment imports."""
        entries = self.augmentation if isinstance(self.augmentation, list) else []
        augmentations = [entry.module for entry in entries if isinstance(entry, OwnFunction)]
        optimizer = self.train_parameters.optimizer
        modules = [
            self.module,
            *augmentations,
            *(entry.module for entry in self.callbacks),
            *(optimizer.modules if optimizer else ()),
        ]
        return list(dict.fromkeys(module for module in modules if module))

    def lengths(self, images: int) -> Lengths:
        """Return a function from a `Duration` to steps, for this number of training images."""
        return lambda duration: duration.in_steps(images, self.train_parameters.batch_size)

    def operations(self, multiply_accumulates: float, images: float) -> float:
        """Return the floating-point operations of training: 2 per multiply-accumulate, 3 passes (6 with SAM).

        Args:
            multiply_accumulates: Of the network, per image.
            images: Number of images; smaller images count by their area.
        """
        return (12.0 if self.train_parameters.sam_rho else 6.0) * multiply_accumulates * images

    def image_sizes(self, images: int, full_size: int) -> ImageSizes:
        """Return the size of the training images at every step.

        Args:
            images: Number of training images.
            full_size: Their height and width.
        """
        return ImageSizes(self.train_parameters.progressive_resizing, self.lengths(images), full_size)

    def resolved(self) -> dict:
        """Return everything as plain data, including defaults and the schedule."""
        document = self.model_dump(mode="json")
        document["train_parameters"] |= {
            "schedule": self.train_parameters.resolved_schedule().model_dump(mode="json"),
            "run_name": self.name,
        }
        of_sgd = SGD_KEYS if self.train_parameters.optimizer else ()
        for key in ("lr_values", "lr_boundaries", *of_sgd):
            document["train_parameters"].pop(key)
        return document

    def fingerprint(self) -> str:
        """Hash every setting that affects results; a checkpoint resumes only if it matches."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()

    def decisive(self) -> dict[str, Any]:
        """Return every setting that affects results, as plain data."""
        return decisive(self)
