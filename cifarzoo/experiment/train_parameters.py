"""How to train: the section `train_parameters` of an experiment, as checked data with defaults."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from cifarzoo.augment.base import form
from cifarzoo.experiment.early_stopping import EarlyStopping, Monitor
from cifarzoo.experiment.hints import HINTS
from cifarzoo.experiment.keeping import KeepSetting
from cifarzoo.experiment.optimizers import SGD_KEYS, AnyOptimizer
from cifarzoo.experiment.pruning import PruningParameters
from cifarzoo.experiment.resizing import ResizingStage
from cifarzoo.experiment.schedules import AnySchedule, Length, Stepped
from cifarzoo.strict_model import (
    Boolean,
    FolderText,
    Name,
    Number,
    PositiveNumber,
    PositiveWholeNumber,
    Strict,
)

# The losses to train with and to measure sharpness of; `cifarzoo.training.losses` defines them.
LossName = Literal["cross_entropy", "squared"]

# Steps per compiled call if neither the experiment nor the device says how many.
LONGEST_CALL = 50

# Largest batch: its images take 13 GB in float32.
LARGEST_BATCH = 2**20

StepsPerCall = Annotated[
    Annotated[Literal["auto"], Tag("str")] | Annotated[PositiveWholeNumber, Tag("number")],
    Discriminator(lambda value: form(value) or "number"),
]


class LookaheadParameters(Strict):
    """The section `lookahead`; see `cifarzoo.training.averaging.Lookahead`."""

    interval: PositiveWholeNumber = 5
    decay: Number = Field(0.95, ge=0, lt=1)
    power: Number = Field(3.0, ge=0)
    start: Length = Field(0, validate_default=True)


class TrainParameters(Strict):
    """How to train: the section `train_parameters` of a document."""

    hints = HINTS

    logdir: FolderText = "runs"
    run_name: Name | None = None
    lr_values: list[PositiveNumber] | None = None
    lr_boundaries: list[PositiveWholeNumber] | None = None
    schedule: AnySchedule | None = None
    lr_reference_batch: PositiveWholeNumber | None = None
    batch_size: PositiveWholeNumber = Field(128, le=LARGEST_BATCH)
    accumulate: PositiveWholeNumber = 1
    optimizer: AnyOptimizer | None = None
    momentum: Number = Field(0.9, ge=0, lt=1)
    momentum_convention: Literal["pytorch", "tensorflow"] = "pytorch"
    nesterov: Boolean = False
    weight_decay: Number = Field(1e-4, ge=0)
    weight_decay_mode: Literal["coupled", "decoupled"] = "coupled"
    decay_all: Boolean = False
    clip_norm: Number = Field(0.0, ge=0)
    bias_lr_factor: PositiveNumber = 1.0
    sam_rho: Number = Field(0.0, ge=0)
    loss: LossName = "cross_entropy"
    label_smoothing: Number = Field(0.0, ge=0, lt=1)
    ema_decay: Number = Field(0.0, ge=0, lt=1)
    ema_warmup: Boolean = False
    lookahead: LookaheadParameters | None = None
    progressive_resizing: list[ResizingStage] = []
    log_interval: Length = Field(200, validate_default=True)
    val_interval: Length = Field(2000, validate_default=True)
    checkpoint_interval: Length = Field(1000, validate_default=True)
    keep: KeepSetting | None = None
    early_stopping: EarlyStopping | None = None
    best_weights: Monitor | None = None
    pruning: PruningParameters | None = None
    steps_per_call: StepsPerCall = "auto"
    eval_batch_size: PositiveWholeNumber = Field(500, le=LARGEST_BATCH)
    train_metrics: Boolean = False

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        stepped = self.lr_values is not None or self.lr_boundaries is not None
        if stepped and self.schedule is not None:
            raise ValueError("give either schedule or lr_values and lr_boundaries, not both")
        values = Stepped().values if self.lr_values is None else self.lr_values
        boundaries = Stepped().boundaries if self.lr_boundaries is None else self.lr_boundaries
        if stepped and (len(values) != len(boundaries) or not values):
            raise ValueError(
                "lr_values and lr_boundaries must be equally long, the last boundary being the end of training; got "
                f"{len(values)} values and {len(boundaries)} boundaries"
            )
        return self

    @model_validator(mode="after")
    def _one_optimizer(self) -> Self:
        if self.optimizer is None:
            return self
        name = self.optimizer.name
        # Also at SGD's default, which is not the optimizer's.
        if both := [key for key in SGD_KEYS if key in self.model_fields_set]:
            kind, them = ("a key", "it") if len(both) == 1 else ("keys", "them")
            raise ValueError(
                f"{', '.join(both)}: {kind} of SGD, which `optimizer: {name}` replaces; leave {them} out, or write "
                f"what {name} has of {them} in optimizer"
            )
        if name != "SGD" and self.schedule is None and self.lr_values is None:
            raise ValueError(
                f"optimizer: the default rates are for SGD; write a schedule for {name}, such as {{kind: cosine, "
                "peak: 0.001, duration: {epochs: 90}}"
            )
        if name == "ScheduleFreeAdamW" and self.lookahead:
            raise ValueError(f"lookahead: {name} infers its average from the weights, which lookahead would replace")
        return self

    @model_validator(mode="after")
    def _one_average(self) -> Self:
        if self.ema_decay and self.lookahead:
            raise ValueError(
                "give either ema_decay or lookahead: both keep a second set of weights, which is evaluated"
            )
        if self.ema_warmup and not self.ema_decay:
            raise ValueError("ema_warmup: starts the moving average of ema_decay, which is not set")
        return self

    @model_validator(mode="after")
    def _ends_sparse(self) -> Self:
        for key in ("early_stopping", "best_weights") if self.pruning else ():
            if getattr(self, key):
                raise ValueError(f"{key}: may take weights from before pruning ends; leave out one of them")
        return self

    @property
    def longest_call(self) -> int:
        """Maximum number of steps per compiled call."""
        return LONGEST_CALL if self.steps_per_call == "auto" else self.steps_per_call

    @property
    def averages(self) -> str:
        """Name of the averaged weights that are evaluated, "" if the trained weights are."""
        return "exponential moving average" if self.ema_decay else "slow weights of Lookahead" if self.lookahead else ""

    @property
    def rate_factor(self) -> float:
        """Factor of the schedule's rates: the batch size over `lr_reference_batch`."""
        return self.batch_size / self.lr_reference_batch if self.lr_reference_batch else 1.0

    def resolved_schedule(self) -> AnySchedule:
        """Return the schedule, built from `lr_values` and `lr_boundaries` if they are set."""
        if self.schedule is not None:
            return self.schedule
        lists = {"values": self.lr_values, "boundaries": self.lr_boundaries}
        return Stepped(**{key: value for key, value in lists.items() if value is not None})
