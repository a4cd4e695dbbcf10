"""Which optimizer trains: the section `train_parameters.optimizer`, as checked data.

Without the section, or with `name: SGD`, it is `cifarzoo.training.optimizers.sgd.SGD`; with `name: Muon` the Muon
beside it; with any other name a class of `keras.optimizers` or of the user's, and only that class knows its arguments.
"""

import difflib
import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from cifarzoo.strict_model import Boolean, Number, PositiveNumber, PositiveWholeNumber, Strict
from cifarzoo.strict_yaml import excerpt, quoted

# Classes of keras.optimizers, without SGD and Muon, which are ours.
KERAS_OPTIMIZERS = (
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "Nadam",
    "RMSprop",
    "ScheduleFreeAdamW",
)
KNOWN = ("SGD", "Muon", *KERAS_OPTIMIZERS)

# Classes of keras.optimizers that are made of others.
_TWO = "for two optimizers in one network, write name: Muon with a rest"
_UNSCALED = "losses are not scaled here; precision: bfloat16 has the range of float32 and needs no scale"
WRAPPERS = {"LossScaleOptimizer": _UNSCALED, "MultiOptimizer": _TWO, "OptimizerMap": _TWO}

# Arguments of Keras' optimizers for what a run does itself, with what to write instead.
_SCHEDULE = "the schedule sets the rate; write train_parameters.schedule, or lr_values and lr_boundaries"
REFUSED = {
    **dict.fromkeys(("lr", "learning_rate"), _SCHEDULE),
    **dict.fromkeys(
        ("use_ema", "ema_momentum", "ema_overwrite_frequency"), "write train_parameters.ema_decay, beside optimizer"
    ),
    "gradient_accumulation_steps": "write train_parameters.accumulate, beside optimizer",
    **dict.fromkeys(("global_clipnorm", "clip_norm"), "write train_parameters.clip_norm, beside optimizer"),
    "loss_scale_factor": _UNSCALED,
}
_HINTS = REFUSED | {
    "rest": "only Muon has a rest: the variables that it does not update",
    "learning_rate_factor": "it is a key of Muon's rest; scale the schedule instead",
}


class SGDParameters(Strict):
    """SGD, with the keys that it also has in `train_parameters`."""

    hints = _HINTS

    name: Literal["SGD"]
    momentum: Number = Field(0.9, ge=0, lt=1)
    momentum_convention: Literal["pytorch", "tensorflow"] = "pytorch"
    nesterov: Boolean = False
    weight_decay: Number = Field(1e-4, ge=0)
    weight_decay_mode: Literal["coupled", "decoupled"] = "coupled"
    decay_all: Boolean = False
    bias_lr_factor: PositiveNumber = 1.0

    @property
    def modules(self) -> list[str]:
        """The user's modules that it imports: there are none."""
        return []


# Keys of train_parameters that belong to SGD.
SGD_KEYS = tuple(key for key in SGDParameters.model_fields if key != "name")


class KerasParameters(Strict):
    """A class of `keras.optimizers`, or of the user's, with its arguments as further keys.

    Attributes:
        name: The class, or "module.Class".
        decay_all: Whether `weight_decay` decays biases and gains, too.
    """

    model_config = ConfigDict(extra="allow")

    # For editors: a name of Keras, or one with a dot.
    name: str = Field(json_schema_extra={"anyOf": [{"enum": list(KERAS_OPTIMIZERS)}, {"pattern": r"\."}]})
    decay_all: Boolean = False

    @property
    def modules(self) -> list[str]:
        """The module of the user's class; empty for a class of Keras."""
        module = self.name.rpartition(".")[0]
        return [module] if module and module.partition(".")[0] != "keras" else []

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the class, without its learning rate."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if self.name in WRAPPERS:
            raise ValueError(f"{self.name}: {WRAPPERS[self.name]}")
        if self.name.startswith("__main__."):
            raise ValueError(f"{excerpt(self.name)}: cannot be imported by other programs; put it in a file of its own")
        if self.name in KERAS_OPTIMIZERS or re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", self.name):
            return self
        lower = {name.lower(): name for name in KNOWN}
        near = difflib.get_close_matches(self.name.lower(), lower, n=1)
        advice = f"did you mean {lower[near[0]]}?" if near else f"known are {', '.join(KNOWN)}, and module.Class"
        raise ValueError(f"no optimizer has the name {excerpt(self.name)}; {advice}")

    @model_validator(mode="after")
    def _arguments_are_plain(self) -> Self:
        for key, value in self.arguments.items():
            if key in _HINTS:
                raise ValueError(f"{key}: {_HINTS[key]}")
            values = value if isinstance(value, list) else [value]
            is_plain = all(part is None or isinstance(part, bool | int | float | str) for part in values)
            if not is_plain or any(isinstance(part, float) and not math.isfinite(part) for part in values):
                raise ValueError(f"{quoted(key)}: expected a finite number, true, false or text, got {excerpt(value)}")
        decay = self.arguments.get("weight_decay")
        if isinstance(decay, int | float) and (decay < 0 or isinstance(decay, bool)):
            raise ValueError(f"weight_decay: must be at least 0, got {excerpt(decay)}")
        return self


class SGDRest(SGDParameters):
    """SGD for what Muon does not update; its rate is the schedule's times `learning_rate_factor`."""

    hints = REFUSED

    learning_rate_factor: PositiveNumber = 1.0


class KerasRest(KerasParameters):
    """A Keras optimizer for what Muon does not update; its rate is the schedule's times `learning_rate_factor`."""

    learning_rate_factor: PositiveNumber = 1.0


def _name(value: Any) -> Any:
    return value.get("name") if isinstance(value, dict) else getattr(value, "name", None)


def _mapping(value: Any) -> Any:
    """Return a mapping for a bare name."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and not isinstance(value.get("name"), str):
        raise ValueError("expected the key name, such as {name: AdamW, weight_decay: 0.05}" + _got(value.get("name")))
    if not isinstance(value, dict | Strict):
        raise ValueError("expected a name, or a mapping such as {name: AdamW, weight_decay: 0.05}")
    return value


def _got(value: Any) -> str:
    return "" if value is None else f", got {excerpt(value)}"


def _rest(value: Any) -> Any:
    value = _mapping(value)
    if _name(value) == "Muon":
        raise ValueError("Muon cannot update what it leaves to the rest; write SGD, AdamW or another optimizer")
    return value


# The tags are the names of the classes, by which error messages find the valid keys.
AnyRest = Annotated[
    Annotated[SGDRest, Tag("SGDRest")] | Annotated[KerasRest, Tag("KerasRest")],
    Discriminator(lambda value: "SGDRest" if _name(value) == "SGD" else "KerasRest"),
    BeforeValidator(_rest, json_schema_input_type=str | SGDRest | KerasRest),
]


class MuonParameters(Strict):
    """Muon for kernels of convolutions and hidden linear layers, another optimizer for the rest.

    See `cifarzoo.training.optimizers.muon.Muon`.
    """

    hints = REFUSED | {
        "adam_lr_ratio": "write rest: {name: AdamW, learning_rate_factor: 0.1}",
        **dict.fromkeys(
            ("adam_beta_1", "adam_beta_2", "adam_weight_decay", "epsilon"), "write it in rest, such as {name: AdamW}"
        ),
        "exclude_layers": "write exclude, the names of layers that belong to the rest",
        "rms_rate": "write scale: rms, which is 0.2, or scale: spectral",
        "decay_all": "Muon updates kernels only; write it in rest",
    }

    name: Literal["Muon"]
    momentum: Number = Field(0.95, ge=0, lt=1)
    nesterov: Boolean = True
    ns_steps: PositiveWholeNumber = Field(5, le=100)
    weight_decay: Number = Field(0.004, ge=0)
    scale: Literal["rms", "spectral"] = "rms"
    exclude: list[str] = []
    rest: AnyRest = Field({"name": "AdamW"}, validate_default=True)

    @property
    def modules(self) -> list[str]:
        """The module of the rest."""
        return self.rest.modules


AnyOptimizer = Annotated[
    Annotated[SGDParameters, Tag("SGDParameters")]
    | Annotated[MuonParameters, Tag("MuonParameters")]
    | Annotated[KerasParameters, Tag("KerasParameters")],
    Discriminator(lambda value: f"{_name(value) if _name(value) in ('SGD', 'Muon') else 'Keras'}Parameters"),
    BeforeValidator(_mapping, json_schema_input_type=str | SGDParameters | MuonParameters | KerasParameters),
]
