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
multiplies it. Decoupled, as in Keras' optimisers, `learning_rate * weight_decay * weight` is subtracted from the weight
in addition to the step.
"""

from dataclasses import dataclass
from typing import Literal

from keras import ops


@dataclass(frozen=True)
class SGD:
    """The update rule; it takes and returns all state.

    Attributes:
        momentum: Factor of the velocity, 0 for none.
        nesterov: Look ahead along the new velocity.
        weight_decay: In coupled mode PyTorch's `weight_decay`, which is Keras' regulariser `L2(weight_decay / 2)`; in
            decoupled mode the `weight_decay` of Keras' optimisers.
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

    def update(self, weights, gradients, velocities, learning_rate):
        """Return new weights, new velocities and the global norm of the gradients (a scalar, before clipping)."""
        norm = global_norm(gradients)
        if self.clip_norm:
            scale = ops.minimum(1.0, self.clip_norm / ops.maximum(norm, 1e-12))
            gradients = [g * ops.cast(scale, g.dtype) for g in gradients]
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


def global_norm(tensors):
    """Return the L2 norm of all tensors as one vector: a scalar of their dtype."""
    return ops.sqrt(sum(ops.sum(ops.square(tensor)) for tensor in tensors))


def ascend(weights, gradients, rho):
    """Move the weights by a step of length `rho` along the gradients, to where SAM takes its gradient.

    Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization, https://arxiv.org/abs/2010.01412, equation 2 with
    p = 2.
    """
    scale = rho / ops.maximum(global_norm(gradients), 1e-12)
    return [weight + scale * gradient for weight, gradient in zip(weights, gradients, strict=True)]


def moving_average(averages, values, decay):
    """Update exponential moving averages, lists of tensors: `decay * average + (1 - decay) * value`."""
    return [decay * average + (1 - decay) * value for average, value in zip(averages, values, strict=True)]


@dataclass(frozen=True)
class MovingAverage:
    """Exponential moving averages of all weights; training does not use them."""

    decay: float

    def update(self, averages, values, step):
        """Return new averages and the unchanged values, after the step of this number, counted from 0."""
        return moving_average(averages, values, self.decay), values


@dataclass(frozen=True)
class Lookahead:
    """Slow weights, to which the trained weights return every few steps.

    Zhang, Lucas, Hinton, Ba: Lookahead Optimizer, https://arxiv.org/abs/1907.08610, with the growing decay of airbench
    (Jordan, https://arxiv.org/abs/2404.00498): every `interval` steps the slow weights keep the share
    decay^interval * (steps done / total)^power of themselves and take the rest from the trained weights.
    BatchNormalization's statistics are averaged likewise.

    Attributes:
        interval: Steps between two returns.
        decay: Per step, at the end of training.
        power: Exponent by which the share grows.
        start: Until this step the slow weights equal the trained ones.
        total: Steps of the whole training.
    """

    interval: int
    decay: float
    power: float
    start: int
    total: int

    def update(self, averages, values, step):
        """Return new slow and new trained weights after the step of this number, counted from 0."""
        done = step + 1
        started = done > self.start
        returns = ops.logical_or(ops.logical_not(started), ops.equal(done % self.interval, 0))
        share = self.decay**self.interval * (ops.cast(done, values[0].dtype) / self.total) ** self.power
        share = ops.where(started, share, ops.zeros_like(share))
        slow, trained = [], []
        for average, value in zip(averages, values, strict=True):
            mean = share * average + (1 - share) * value
            slow.append(ops.where(returns, mean, average))
            trained.append(ops.where(returns, mean, value))
        return slow, trained
