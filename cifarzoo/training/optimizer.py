"""Stochastic gradient descent as the CIFAR papers mean it, as pure functions on lists of tensors.

Keras' own `SGD` keeps the learning rate inside the velocity and decays weights outside of it; the papers' code (Torch,
PyTorch) adds `weight_decay * weight` to the gradient and multiplies by the learning rate at the end:

    g = gradient + weight_decay * weight
    velocity = momentum * velocity + g
    weight -= learning_rate * (g + momentum * velocity if nesterov else velocity)
"""

from dataclasses import dataclass

from keras import ops


@dataclass(frozen=True)
class SGD:
    """The update rule; all state is passed in and returned.

    Attributes:
        momentum: Factor of the velocity, 0 for none.
        nesterov: Look ahead along the new velocity.
        weight_decay: Coupled: added to the gradient times the weight, as PyTorch's `weight_decay`; Keras' `L2(w / 2)`.
        decay_all: Decay biases and BatchNormalization's gamma and beta too, not only kernels.
        clip_norm: If positive, gradients are scaled down to this global norm before the decay is added.
    """

    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_all: bool = False
    clip_norm: float = 0.0

    def update(self, weights, gradients, velocities, learning_rate):
        """New weights, new velocities and the global norm of the gradients (a float32 scalar, before clipping)."""
        norm = ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients))
        if self.clip_norm:
            scale = ops.minimum(1.0, self.clip_norm / ops.maximum(norm, 1e-12))
            gradients = [g * ops.cast(scale, g.dtype) for g in gradients]
        new_weights, new_velocities = [], []
        for weight, gradient, velocity in zip(weights, gradients, velocities, strict=True):
            if self.weight_decay and (self.decay_all or len(weight.shape) > 1):
                gradient = gradient + self.weight_decay * weight
            velocity = self.momentum * velocity + gradient
            step = gradient + self.momentum * velocity if self.nesterov else velocity
            # Not `ops.cast`, which takes a Python number through float32.
            new_weights.append(weight - ops.convert_to_tensor(learning_rate, weight.dtype) * step)
            new_velocities.append(velocity)
        return new_weights, new_velocities, norm


def moving_average(averages, values, decay):
    """Exponential moving average of lists of tensors: `decay * average + (1 - decay) * value`."""
    return [decay * average + (1 - decay) * value for average, value in zip(averages, values, strict=True)]
