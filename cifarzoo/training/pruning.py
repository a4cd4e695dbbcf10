"""Magnitude pruning while training: the smallest weights of each kernel become zero and stay zero.

Zhu, Gupta: To prune, or not to prune: exploring the efficacy of pruning for model compression,
https://arxiv.org/abs/1710.01878.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.pruning import PruningSteps
from cifarzoo.training.kernels import is_matrix, named_layers
from cifarzoo.training.state import State


@dataclass(frozen=True)
class Pruning:
    """The schedule: after `n` of `steps`, the share `sparsity + (initial - sparsity) (1 - progress)^3` is zero.

    Attributes:
        sparsity: Share of zeros in each kernel at the end.
        initial: Share of zeros at the first change.
        steps: When masks change.
        exclude: Names of layers, or patterns, that keep all their weights; see `named_layers`.
    """

    sparsity: float
    initial: float
    steps: PruningSteps
    exclude: Sequence[str] = ()

    def shares(self) -> np.ndarray:
        """Return the share of zeros after each change, float64 [changes]."""
        done = np.array(self.steps.changes(), np.float64)
        length = self.steps.end - self.steps.start
        left = 1 - (done - self.steps.start) / length if length else np.zeros_like(done)
        return self.sparsity + (self.initial - self.sparsity) * left**3

    def bind(self, model: keras.Model) -> "BoundPruning":
        """Return the pruning of a model's trainable kernels, those of convolutions and dense layers.

        Raises:
            ExperimentError: `exclude` names no layer, or no weight is left to prune.
        """
        variables = model.trainable_variables
        excluded = named_layers(variables, self.exclude, "train_parameters.pruning.exclude")
        kernels = [n for n, variable in enumerate(variables) if is_matrix(variable) and n not in excluded]
        if not any(self.zeros(math.prod(variables[n].shape))[-1] for n in kernels):
            raise ExperimentError(
                "train_parameters.pruning: prunes nothing: every kernel is excluded, frozen or too small for "
                f"a sparsity of {self.sparsity:g}"
            )
        return BoundPruning(self, model, kernels)

    def zeros(self, size: int) -> np.ndarray:
        """Return the number of zeros among `size` weights after each change, int32 [changes]."""
        return np.floor(self.shares() * size + 1e-9).astype(np.int32)


class BoundPruning:
    """The pruning of one model.

    Args:
        pruning: The schedule.
        model: The model.
        kernels: The positions of the pruned variables among the trainable ones.

    Attributes:
        masks: Initial masks of the kernels, True where a weight may differ from zero.
    """

    def __init__(self, pruning: Pruning, model: keras.Model, kernels: list[int]):
        self._changes, self._kernels = np.array(pruning.steps.changes(), np.int32), kernels
        variables = [model.trainable_variables[n] for n in kernels]
        positions = {id(variable): n for n, variable in enumerate(model.weights)}
        self._weights = [positions[id(variable)] for variable in variables]
        self.masks = [np.ones(variable.shape, bool) for variable in variables]
        # A table, so that both engines and all precisions prune the same number of weights.
        self._zeros = np.stack([pruning.zeros(mask.size) for mask in self.masks], axis=1)

    def masked(self, values: Sequence[Any], masks: Sequence[Any]) -> list[Any]:
        """Return tensors of the trainable variables with zeros where weights are pruned."""
        result = list(values)
        for mask, n in zip(masks, self._kernels, strict=True):
            result[n] = _masked(result[n], mask)
        return result

    def update(self, state: State, step) -> State:
        """Return the state after the step of this number, counted from 0, with pruned weights and averages at zero."""
        changes = ops.convert_to_tensor(self._changes)
        number = ops.searchsorted(changes, ops.reshape(step + 1, (1,)), side="right")[0] - 1
        number = ops.maximum(number, 0)
        change = ops.equal(ops.take(changes, number), step + 1)
        zeros = ops.take(ops.convert_to_tensor(self._zeros), number, axis=0)
        weights = [state.trainable[n] for n in self._kernels]
        masks = ops.cond(
            change,
            lambda: [_mask(weights[n], mask, zeros[n]) for n, mask in enumerate(state.masks)],
            lambda: [ops.convert_to_tensor(mask) for mask in state.masks],
        )
        trainable, averages = list(state.trainable), list(state.averages)
        for mask, n, position in zip(masks, self._kernels, self._weights, strict=True):
            trainable[n] = _masked(trainable[n], mask)
            if averages:
                averages[position] = _masked(averages[position], mask)
        return state._replace(trainable=trainable, averages=averages, masks=list(masks))


def _mask(weight, mask, zeros):
    """Return a mask with this number of zeros, at the smallest weights; what was pruned before stays pruned."""
    magnitudes = ops.where(mask, ops.abs(weight), ops.full_like(weight, -1))
    order = ops.argsort(ops.reshape(magnitudes, (-1,)))  # of equal weights, the first ones are pruned
    ranks = ops.argsort(order)
    return ops.logical_and(mask, ops.reshape(ranks, ops.shape(weight)) >= zeros)


def _masked(weight, mask):
    return ops.where(mask, weight, ops.zeros_like(weight))
