"""What an update rule is: the protocols that every optimizer here is written against."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np


class Update(Protocol):
    """One step of an optimizer, a pure function that both engines trace."""

    def __call__(self, weights, gradients, slots, learning_rate, step) -> tuple[list, list, Any]:
        """Compute new weights.

        Args:
            weights: The trainable weights, a list of tensors.
            gradients: Of the same shapes and dtypes.
            slots: What the optimizer remembers between steps, a list of tensors in the order of `Bound.slots`.
            learning_rate: Of this step, a scalar.
            step: Number of the step, counted from 0, an int32 scalar.

        Returns:
            New weights, new slots, and the global norm of the gradients before they are clipped (a scalar).
        """
        ...


class Bound(NamedTuple):
    """An update rule for variables of one model.

    Attributes:
        slots: The first values of the optimizer's slots, arrays or tensors, by their names in checkpoints. The names
            depend neither on the engine nor on names in the model, which Keras numbers through within a process.
        update: The step.
    """

    slots: dict[str, Any]
    update: Update


class Rule(Protocol):
    """An update rule with its parameters."""

    def bind(self, variables: Sequence[keras.Variable], model: keras.Model | None = None) -> Bound:
        """Return the rule for variables.

        Args:
            variables: All trainable ones of a model, or some of them, in the model's order.
            model: Their model, for a rule that treats layers differently.

        Raises:
            ExperimentError: the rule does not fit the variables.
        """
        ...


def constrained(weights: Sequence[Any], variables: Sequence[keras.Variable]) -> list:
    """Return weights as the constraints of their variables want them; Keras' own optimizers do so themselves.

    Such a constraint is `kernel_constraint=keras.constraints.MaxNorm(2)` of a layer.
    """
    pairs = zip(weights, variables, strict=True)
    return [variable.constraint(weight) if variable.constraint else weight for weight, variable in pairs]


def zeros(group: str, variables: Sequence[keras.Variable]) -> dict[str, np.ndarray]:
    """Return a slot of zeros for each variable, named "GROUP/NNNN"."""
    return {f"{group}/{n:04d}": np.zeros(v.shape, v.dtype) for n, v in enumerate(variables)}
