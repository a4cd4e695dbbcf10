"""Any Keras optimizer as an update rule."""

import contextlib
import difflib
import functools
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarzoo.errors import ExperimentError, summarize
from cifarzoo.experiment.optimizers import REFUSED
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.keras_internals.pure_optimizers import pure
from cifarzoo.strict_yaml import excerpt
from cifarzoo.training.optimizers.norms import clipped
from cifarzoo.training.optimizers.rule import Bound
from cifarzoo.user_code import user_module

KEY = "train_parameters.optimizer"
# Arguments of Keras' optimizers: shares of what they remember, and bounds of gradients.
SHARES = ("beta_1", "beta_2", "momentum", "rho")
CLIPS = ("clipnorm", "clipvalue")
RANDOM_NUMBERS = (
    "random numbers come from keras.random with a keras.random.SeedGenerator as an attribute of the optimizer"
)


class _Rate:
    """The learning rate of the step that is being traced, which Keras' optimizers call."""

    value: Any = 0.0

    def __call__(self):
        return self.value


@dataclass(frozen=True)
class KerasRule:
    """A class of `keras.optimizers` or of the user's; see `Rule`.

    Attributes:
        name: The class in `keras.optimizers`, or "module.Class".
        arguments: Its arguments, except for the learning rate.
        decay_all: Whether its `weight_decay` also decays biases, gamma and beta. Keras' own default is to decay
            everything.
        clip_norm: If positive, gradients are scaled down to this global norm first.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    decay_all: bool = False
    clip_norm: float = 0.0

    def check(self) -> None:
        """Check that the class exists, takes the arguments, and can update kernels and a bias with them.

        Raises:
            ExperimentError: it does not or cannot, or what it computes depends on more than the state of a run.
        """
        variables = [keras.Variable(np.ones(shape), dtype="float32") for shape in ((3, 3, 2, 2), (2, 2), (2,))]
        bound, weights = self.bind(variables), [ops.convert_to_tensor(variable) for variable in variables]
        slots = [ops.convert_to_tensor(value) for value in bound.slots.values()]
        try:
            results = [bound.update(weights, weights, slots, 0.1, 0) for _ in range(2)]
        except ExperimentError:
            raise
        except Exception as failure:  # whatever a class of Keras or of the user raises
            what = summarize(failure)
            is_missing = optimizer_class(self.name).update_step is keras.optimizers.Optimizer.update_step
            if is_missing and isinstance(failure, NotImplementedError):
                what = "has no method update_step(self, gradient, variable, learning_rate)"
            raise ExperimentError(f"{KEY}: {self.name}: {what}") from None
        arrays = [[ops.convert_to_numpy(value) for value in [*new, *new_slots]] for new, new_slots, _ in results]
        if not all(np.array_equal(one, other, equal_nan=True) for one, other in zip(*arrays, strict=True)):
            raise ExperimentError(f"{KEY}: {self.name}: computes two results from one state; {RANDOM_NUMBERS}")

    def _construct(self, rate):
        kind: Any = optimizer_class(self.name)
        known = inspect.signature(kind).parameters
        if kind.__module__.startswith("keras.") or "kwargs" not in known:
            names = [key for key in known if key not in ("learning_rate", "name", "kwargs", *REFUSED)]
            for key in self.arguments:
                if key not in names:
                    near = difflib.get_close_matches(key, names, n=1)
                    advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
                    raise ExperimentError(f"{KEY}: {self.name} has no argument {key!r:.60}; {advice}")
        for key, value in self.arguments.items():
            default = known[key].default if key in known else None
            if expected := _misfit(key, value, default, kind.__module__.startswith("keras.")):
                raise ExperimentError(f"{KEY}: {self.name}: {key}: expected {expected}, got {excerpt(value)}")
        try:
            return pure(kind)(learning_rate=rate, **self.arguments)
        except ExperimentError:
            raise
        except Exception as failure:  # whatever a class of Keras or of the user raises
            raise ExperimentError(f"{KEY}: {self.name}: {summarize(failure)}") from None

    def bind(self, variables: Sequence[keras.Variable], model: keras.Model | None = None) -> Bound:
        """See `Rule.bind`; the slots are the optimizer's variables except its step counter.

        The states of its `keras.random.SeedGenerator`s, which Keras does not list among its variables, are slots, too.
        """
        rate = _Rate()
        optimizer = self._construct(rate)
        if not self.decay_all:
            optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
        try:
            optimizer.build(list(variables))
        except Exception as failure:  # see above
            raise ExperimentError(f"{KEY}: {self.name}: {summarize(failure)}") from None
        iterations = optimizer.iterations
        slot_variables = [v for v in optimizer.variables if v is not iterations]
        seeds = [generator.state for generator in _generators(list(vars(optimizer).values()))]
        mapped = [*variables, *slot_variables, *seeds]

        dtype = keras.backend.standardize_dtype(variables[0].dtype)
        in_float64 = functools.partial(arithmetic, dtype) if dtype == "float64" else contextlib.nullcontext

        def update(weights, gradients, slots, learning_rate, step):
            gradients, norm = clipped(gradients, self.clip_norm)
            rate.value = ops.convert_to_tensor(learning_rate, weights[0].dtype)
            values = [*zip(mapped, [*weights, *slots], strict=True), (iterations, ops.cast(step, iterations.dtype))]
            with in_float64(), keras.StatelessScope(values) as scope:
                optimizer.apply(gradients)
            if set(scope.state_mapping) - {id(variable) for variable, _ in values}:
                raise ExperimentError(
                    f"{KEY}: {self.name}: assigns to a variable that it does not own, and would find it unchanged "
                    f"in the next step; {RANDOM_NUMBERS}"
                )
            new = [scope.get_current_value(variable) for variable in mapped]
            return new[: len(weights)], new[len(weights) :], norm

        slots = {f"slots/{n:04d}": v.value for n, v in enumerate(slot_variables)}
        return Bound(slots | {f"generators/{n:04d}": v.value for n, v in enumerate(seeds)}, update)


def _misfit(key: str, value: Any, default: Any, is_of_keras: bool) -> str:
    """Return what an argument must be instead of a value that is not of the default's type or range, "" if it fits."""
    if value is None or isinstance(value, list):
        return ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, int | float) or key in (*CLIPS, "weight_decay"):
        if not is_number:
            return "a number"
        if is_of_keras and key in SHARES and not 0 <= value < 1:
            return "a number from 0 to less than 1"
        if key in CLIPS and value <= 0:
            return "a positive number"
    return ""


def _generators(values: Iterable[Any]) -> list[keras.random.SeedGenerator]:
    """Return the generators of random numbers among attributes, each once, also those in lists and mappings."""
    found: dict[int, keras.random.SeedGenerator] = {}
    for value in values:
        if isinstance(value, keras.random.SeedGenerator):
            found[id(value)] = value
        elif isinstance(value, list | tuple | dict):
            inner = value.values() if isinstance(value, dict) else value
            found |= {id(generator): generator for generator in _generators(inner)}
    return list(found.values())


def optimizer_class(name: str) -> type[keras.optimizers.Optimizer]:
    """Return a class by its name in `keras.optimizers`, or by "module.Class".

    Raises:
        ExperimentError: there is no such class, or it is not an optimizer.
    """
    path, _, attribute = name.rpartition(".")
    module = user_module(path, KEY, ExperimentError) if path else keras.optimizers
    kind = getattr(module, attribute, None)
    if kind is None:
        raise ExperimentError(f"{KEY}: {path or 'keras.optimizers'} has no class {attribute!r}")
    if not (isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)):
        raise ExperimentError(f"{KEY}: {name} is not a class derived from keras.optimizers.Optimizer")
    return kind
