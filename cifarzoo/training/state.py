"""What a step of training depends on and changes, and the names of its arrays in checkpoints."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import keras


class State(NamedTuple):
    """Everything the next step depends on, except its number.

    Attributes:
        trainable: Values of the model's trainable variables.
        others: Values of its other variables: moving statistics, states of random layers.
        slots: What the optimizer remembers, in the order of `Bound.slots`.
        averages: The second set of weights, in the order of `model.weights`; empty without averaging.
        masks: Of pruned kernels, in the order of `BoundPruning.masks`; empty without pruning.
    """

    trainable: list[Any]
    others: list[Any]
    slots: list[Any]
    averages: list[Any]
    masks: list[Any]


class VariableOrder:
    """Which value of a `State` belongs to which of a model's variables, and the names of all values.

    Checkpoints and averages follow the order of `model.weights`, engines that of trainable and other variables.

    Args:
        model: A built Keras model.
        slots: The names of the optimizer's slots.
    """

    def __init__(self, model: keras.Model, slots: Iterable[str]):
        positions = {id(v): n for n, v in enumerate([*model.trainable_variables, *model.non_trainable_variables])}
        self._trainable, self._slots = len(model.trainable_variables), list(slots)
        self._weights = [positions.pop(id(v)) for v in model.weights]
        self._random_states = sorted(positions.values())  # variables that are not weights

    def weights(self, state: State) -> list:
        """Return the values in the order of `model.weights`."""
        return self._values(state, self._weights)

    def random_states(self, state: State) -> list:
        """Return the values of the variables that are not weights: the states of random layers."""
        return self._values(state, self._random_states)

    def _values(self, state, positions):
        values = [*state.trainable, *state.others]
        return [values[position] for position in positions]

    def with_weights(self, state: State, weights: list) -> State:
        """Return the state with other values of `model.weights`."""
        return self._with_values(state, self._weights, weights)

    def with_random_states(self, state: State, random_states: list) -> State:
        """Return the state with other states of random layers."""
        return self._with_values(state, self._random_states, random_states)

    def _with_values(self, state, positions, new):
        values = [*state.trainable, *state.others]
        for position, value in zip(positions, new, strict=True):
            values[position] = value
        return state._replace(trainable=values[: self._trainable], others=values[self._trainable :])

    def named(self, state: State) -> dict[str, Any]:
        """Name every value as checkpoints do, for example "weights/0003"."""

        def numbered(group, values):
            return {f"{group}/{n:04d}": value for n, value in enumerate(values)}

        return (
            numbered("weights", self.weights(state))
            | dict(zip(self._slots, state.slots, strict=True))
            | numbered("averages", state.averages)
            | numbered("random_states", self.random_states(state))
            | numbered("masks", state.masks)
        )
