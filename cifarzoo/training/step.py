"""The gradient of a training step, shared by both engines: one pass, many micro-batches, or SAM's two passes.

An engine brings automatic differentiation and a way to put operations in order; everything else is `keras.ops` without
side effects.
"""

import keras
from keras import ops

from cifarzoo.training.losses import LOSSES, error
from cifarzoo.training.optimizer import ascend


def objective(model, parameters, weights, others, images, labels):
    """What to differentiate with respect to `weights`.

    Args:
        model: The Keras model; its own variables are neither read nor written.
        parameters: `TrainParameters`.
        weights: Values of the model's trainable variables.
        others: Values of its other variables: moving statistics, states of random layers.
        images: [batch, height, width, 3], also of another height and width than the model's input.
        labels: int32 [batch], or float32 [batch, classes].

    Returns:
        The loss plus the model's own losses, and a tuple: the loss, the error, the new values of `others`.
    """
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    mapping = list(zip(variables, [*weights, *others], strict=True))
    with keras.StatelessScope(mapping, collect_losses=True) as scope:
        logits = model(ops.cast(images, model.inputs[0].dtype), training=True)
        own_losses = model.losses
    others = [scope.get_current_value(variable) for variable in model.non_trainable_variables]
    loss = LOSSES[parameters.loss](logits, labels, parameters.label_smoothing)
    total = loss + sum(ops.cast(own, loss.dtype) for own in own_losses)
    return total, (loss, error(logits, labels), others)


def step_gradients(parameters, differentiate, after, weights, others, images, labels):
    """The gradient of one step.

    With `accumulate` it is the mean over so many equal parts of the batch, computed one after another; each part has
    BatchNormalization statistics of its own, and the moving ones follow all. With `sam_rho` it is the gradient a step
    of that length uphill (https://arxiv.org/abs/2010.01412); loss, error and new statistics are those of the first
    pass, and random layers draw the same in both.

    Args:
        parameters: `TrainParameters`.
        differentiate: Function of (weights, others, images, labels) to the gradients and `objective`'s tuple.
        after: Function of (tensors, earlier tensors) to the first, not to be had before the second are computed.
        weights: Values of the trainable variables.
        others: Values of the other variables.
        images: The batch, already augmented.
        labels: Its labels.

    Returns:
        Gradients, loss, error, new values of `others`.
    """

    def mean_of_parts(weights):
        parts, state, sums = parameters.accumulate, others, None
        for part in range(parts):
            # Strided, so that every replica's share of the batch has an equal share of each part.
            share = [images[part::parts], labels[part::parts]] if parts > 1 else [images, labels]
            if sums is not None:
                share = after(share, sums)
            gradients, (loss, wrong, state) = differentiate(weights, state, *share)
            found = [*gradients, loss, wrong]
            sums = found if sums is None else [a + b for a, b in zip(sums, found, strict=True)]
        *gradients, loss, wrong = [value / parts for value in sums] if parts > 1 else sums
        return gradients, loss, wrong, state

    gradients, loss, wrong, new_others = mean_of_parts(weights)
    if parameters.sam_rho:
        gradients, *_ = mean_of_parts(ascend(weights, gradients, parameters.sam_rho))
    return gradients, loss, wrong, new_others
