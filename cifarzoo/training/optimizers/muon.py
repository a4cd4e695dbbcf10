"""Muon: momentum whose matrices are orthogonalized, for kernels; another optimizer for everything else.

Jordan et al.: Muon: An optimizer for hidden layers in neural networks, https://kellerjordan.github.io/posts/muon/. The
kernel of a convolution is a matrix of one row per output channel. Keras' own Muon leaves convolutions to AdamW: in a
ResNet it updates nothing but the classifier, which its authors exclude. Two scales of the orthogonal matrix exist:
"spectral", of the original code, `sqrt(max(1, outputs / inputs))`, with rates of about 0.02; and "rms", of Liu et al.
(Muon is scalable for LLM training, https://arxiv.org/abs/2502.16982), `0.2 sqrt(max(outputs, inputs))`, which moves
weights as far as AdamW does and so takes AdamW's rates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import keras
from keras import ops

from cifarzoo.errors import ExperimentError
from cifarzoo.training.kernels import classifier_kernels, is_matrix, named_layers
from cifarzoo.training.optimizers.norms import clipped
from cifarzoo.training.optimizers.rule import Bound, Rule, constrained, zeros

# Coefficients of the polynomial that the reference code iterates.
A, B, C = 3.4445, -4.7750, 2.0315


@dataclass(frozen=True)
class Muon:
    """The update rule; see `Rule`.

    Attributes:
        rest: The rule of the variables that Muon does not update: biases, gamma and beta, anything else that is not a
            matrix, the classifier, and `exclude`.
        rest_factor: Factor between the learning rate of the rest and Muon's.
        momentum: Factor of the momentum.
        nesterov: Look ahead along the new momentum.
        ns_steps: Iterations of the orthogonalization.
        weight_decay: `learning_rate * weight_decay * weight` is subtracted in addition to the step.
        scale: See above.
        exclude: Names of layers, or patterns such as "gate*", whose kernels belong to the rest.
        clip_norm: If positive, gradients are scaled down to this global norm first, those of the rest included.
    """

    rest: Rule
    rest_factor: float = 1.0
    momentum: float = 0.95
    nesterov: bool = True
    ns_steps: int = 5
    weight_decay: float = 0.0
    scale: Literal["rms", "spectral"] = "rms"
    exclude: tuple[str, ...] = ()
    clip_norm: float = 0.0

    def bind(self, variables: Sequence[keras.Variable], model: keras.Model | None = None) -> Bound:
        """See `Rule.bind`; the slots are one momentum per matrix, then those of the rest."""
        chosen = self.chosen(variables, model)
        others = [n for n in range(len(variables)) if n not in chosen]
        rest = self.rest.bind([variables[n] for n in others])
        momenta = zeros("momentum", [variables[n] for n in chosen])

        def update(weights, gradients, slots, learning_rate, step):
            gradients, norm = clipped(gradients, self.clip_norm)
            new_weights = list(weights)
            # Not `ops.cast`, which converts a Python number to float32 first.
            rate = ops.convert_to_tensor(learning_rate, weights[0].dtype)
            matrices = [weights[n] for n in chosen], [gradients[n] for n in chosen], slots[: len(chosen)]
            moved, new_momenta = self._step(*matrices, rate)
            moved = constrained(moved, [variables[n] for n in chosen])
            others_moved, others_slots, _ = rest.update(
                [weights[n] for n in others],
                [gradients[n] for n in others],
                slots[len(chosen) :],
                rate * self.rest_factor,
                step,
            )
            for n, value in zip([*chosen, *others], [*moved, *others_moved], strict=True):
                new_weights[n] = value
            return new_weights, [*new_momenta, *others_slots], norm

        return Bound(momenta | {f"rest/{name}": value for name, value in rest.slots.items()}, update)

    def chosen(self, variables: Sequence[keras.Variable], model: keras.Model | None = None) -> list[int]:
        """Return the positions of the variables that Muon updates.

        Args:
            variables: The trainable variables.
            model: Their model, which knows its classifier; without it, that is the last matrix.

        Raises:
            ExperimentError: there is none, or `exclude` names no layer.
        """
        excluded = named_layers(variables, self.exclude, "train_parameters.optimizer.exclude")
        matrices = [n for n, variable in enumerate(variables) if is_matrix(variable)]
        classifier = {id(v) for v in (classifier_kernels(model) if model else [variables[n] for n in matrices[-1:]])}
        chosen = [n for n in matrices if n not in excluded and id(variables[n]) not in classifier]
        if not chosen:
            raise ExperimentError(
                "train_parameters.optimizer: the network has no matrix for Muon except the classifier and what "
                "exclude names"
            )
        return chosen

    def _step(self, weights, gradients, momenta, rate):
        """Return new weights and new momenta of matrices."""
        new_momenta = [self.momentum * m + g for m, g in zip(momenta, gradients, strict=True)]
        if self.nesterov:
            directions = [g + self.momentum * m for m, g in zip(new_momenta, gradients, strict=True)]
        else:
            directions = new_momenta
        flat = [ops.reshape(direction, (-1, direction.shape[-1])) for direction in directions]
        new_weights = []
        for weight, direction in zip(weights, orthogonalized(flat, self.ns_steps), strict=True):
            inputs, outputs = direction.shape
            if self.scale == "rms":
                factor = 0.2 * math.sqrt(max(inputs, outputs))
            else:
                factor = math.sqrt(max(1.0, outputs / inputs))
            step = factor * ops.reshape(direction, weight.shape)
            new_weights.append(weight - rate * (step + self.weight_decay * weight))
        return new_weights, new_momenta


def orthogonalized(matrices, steps):
    """Return for each matrix U V^T of its singular value decomposition U S V^T, up to singular values of 0.7 to 1.2.

    A Newton-Schulz iteration of the fifth order; matrices of equal shape are computed together.

    Args:
        matrices: Tensors [inputs, outputs].
        steps: Number of iterations.
    """
    groups: dict[tuple, list[int]] = {}
    for n, matrix in enumerate(matrices):
        groups.setdefault(tuple(matrix.shape), []).append(n)
    results = [None] * len(matrices)
    for (inputs, outputs), members in groups.items():
        x = ops.stack([matrices[n] for n in members])
        if inputs > outputs:
            x = ops.transpose(x, (0, 2, 1))
        x = x / (ops.sqrt(ops.sum(ops.square(x), axis=(1, 2), keepdims=True)) + 1e-7)
        for _ in range(steps):
            gram = x @ ops.transpose(x, (0, 2, 1))
            x = A * x + (B * gram + C * (gram @ gram)) @ x
        if inputs > outputs:
            x = ops.transpose(x, (0, 2, 1))
        for n, member in zip(members, ops.unstack(x, len(members)), strict=True):
            results[n] = member
    return results
