"""Stochastic gradient descent as pure functions on lists of tensors, in the papers' form and in TensorFlow's.

The papers' code (Torch, PyTorch) multiplies by the learning rate at the end:

    velocity = momentum * velocity + gradient
    weight -= learning_rate * (gradient + momentum * velocity if nesterov else velocity)

TensorFlow and Keras keep the learning rate inside the velocity:

    velocity = momentum * velocity - learning_rate * gradient
    weight += momentum * velocity - learning_rate * gradient if nesterov else velocity

At a constant rate both are the same. After the rate drops, the second form still moves by the larger rate for some
steps.

Weight decay is coupled in the papers: `weight_decay * weight` is added to the gradient, so that the momentum also
multiplies it. Decoupled, as in Keras' optimizers, `learning_rate * weight_decay * weight` is subtracted from the weight
in addition to the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import keras
from keras import ops

from cifarzoo.training.optimizers.norms import clipped
from cifarzoo.training.optimizers.rule import Bound, constrained, zeros


@dataclass(frozen=True)
class SGD:
    """The update rule; see `Rule`.

    Attributes:
        momentum: Factor of the velocity, 0 for none.
        nesterov: Look ahead along the new velocity.
        weight_decay: In coupled mode PyTorch's `weight_decay`, which is Keras' regularizer `L2(weight_decay / 2)`; in
            decoupled mode the `weight_decay` of Keras' optimizers.
        decay_all: Decay biases and BatchNormalization's gamma and beta as well as kernels.
        clip_norm: If positive, gradients are scaled down to this global norm before the decay is added.
        weight_decay_mode: See above.
        momentum_convention: See above.
        bias_lr_factor: Factor of the learning rate of biases and of BatchNormalization's gamma and beta; it does not
            multiply their decay.
    """

    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_all: bool = False
    clip_norm: float = 0.0
    weight_decay_mode: Literal["coupled", "decoupled"] = "coupled"
    momentum_convention: Literal["pytorch", "tensorflow"] = "pytorch"
    bias_lr_factor: float = 1.0

    def bind(self, variables: Sequence[keras.Variable], model: keras.Model | None = None) -> Bound:
        """See `Rule.bind`; the slots are one velocity per variable."""

        def update(weights, gradients, velocities, learning_rate, step):
            new, velocities, norm = self.update(weights, gradients, velocities, learning_rate)
            return constrained(new, variables), velocities, norm

        return Bound(zeros("velocities", variables), update)

    def update(self, weights, gradients, velocities, learning_rate):
        """Return new weights before constraints, new velocities and the global norm of the gradients; see `Update`."""
        gradients, norm = clipped(gradients, self.clip_norm)
        new_weights, new_velocities = [], []
        for weight, gradient, velocity in zip(weights, gradients, velocities, strict=True):
            # Not `ops.cast`, which converts a Python number to float32 first.
            rate = ops.convert_to_tensor(learning_rate, weight.dtype)
            is_kernel = len(weight.shape) > 1
            decay = self.weight_decay if self.decay_all or is_kernel else 0.0
            if self.bias_lr_factor != 1 and not is_kernel:
                rate, decay = rate * self.bias_lr_factor, decay / self.bias_lr_factor
            decoupled = decay and self.weight_decay_mode == "decoupled"
            if decay and not decoupled:
                gradient = gradient + decay * weight
            if self.momentum_convention == "pytorch":
                velocity = self.momentum * velocity + gradient
                new = weight - rate * (gradient + self.momentum * velocity if self.nesterov else velocity)
            else:
                velocity = self.momentum * velocity - rate * gradient
                new = weight + (self.momentum * velocity - rate * gradient if self.nesterov else velocity)
            new_weights.append(new - rate * (decay * weight) if decoupled else new)
            new_velocities.append(velocity)
        return new_weights, new_velocities, norm
