"""What depends on all gradients together: their norm, clipping by it, and SAM's step uphill."""

from keras import ops


def global_norm(tensors):
    """Return the L2 norm of all tensors as one vector: a scalar of their dtype."""
    return ops.sqrt(sum(ops.sum(ops.square(tensor)) for tensor in tensors))


def clipped(gradients, clip_norm):
    """Scale gradients down to a global norm.

    Args:
        gradients: A list of tensors.
        clip_norm: The largest norm; 0 leaves the gradients as they are.

    Returns:
        The gradients, and their global norm before (a scalar).
    """
    norm = global_norm(gradients)
    if clip_norm:
        scale = ops.minimum(1.0, clip_norm / ops.maximum(norm, 1e-12))
        gradients = [g * ops.cast(scale, g.dtype) for g in gradients]
    return gradients, norm


def ascend(weights, gradients, rho):
    """Move the weights by a step of length `rho` along the gradients, to where SAM takes its gradient.

    Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization, https://arxiv.org/abs/2010.01412, equation 2 with
    p = 2.
    """
    scale = rho / ops.maximum(global_norm(gradients), 1e-12)
    return [weight + scale * gradient for weight, gradient in zip(weights, gradients, strict=True)]
