"""Losses and errors of a batch of logits, in `keras.ops`, so that both engines share them."""

from collections.abc import Callable

from keras import ops

from cifarzoo.experiment.schema import LossName


def cross_entropy(logits, labels, label_smoothing=0.0):
    """Mean cross-entropy.

    Args:
        logits: [batch, classes].
        labels: int32 [batch], or probabilities [batch, classes].
        label_smoothing: Share of the probability that is spread evenly over all classes.

    Returns:
        A scalar of the logits' dtype, at least float32.
    """
    logits = _wide(logits)
    return -ops.mean(ops.sum(_targets(logits, labels, label_smoothing) * ops.log_softmax(logits), axis=-1))


def squared(logits, labels, label_smoothing=0.0):
    """Half the squared distance of the logits from the one-hot labels: summed over classes, the mean of the batch.

    What the code of sungyubkim/cifar_jax minimises (`optax.l2_loss`); arguments and result are those of
    `cross_entropy`.
    """
    logits = _wide(logits)
    return 0.5 * ops.mean(ops.sum(ops.square(logits - _targets(logits, labels, label_smoothing)), axis=-1))


LOSSES: dict[LossName, Callable] = {"cross_entropy": cross_entropy, "squared": squared}


def _wide(logits):
    # bfloat16 too: its eight bits are too few for a mean of logarithms.
    return ops.cast(logits, "float32") if "float16" in str(logits.dtype) else logits


def _targets(logits, labels, label_smoothing):
    classes = logits.shape[-1]
    targets = labels if len(labels.shape) == 2 else ops.one_hot(labels, classes)
    targets = ops.cast(targets, logits.dtype)
    return (1 - label_smoothing) * targets + label_smoothing / classes if label_smoothing else targets


def error(logits, labels):
    """Share of wrong predictions, float32 scalar; of mixed labels the largest counts."""
    if len(labels.shape) == 2:
        labels = ops.argmax(labels, axis=-1)
    wrong = ops.not_equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), ops.cast(labels, "int32"))
    return ops.mean(ops.cast(wrong, "float32"))
