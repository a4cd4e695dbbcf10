"""Losses and error of a batch of logits, in `keras.ops`, so that all engines share them."""

from collections.abc import Callable

from keras import ops

from cifarzoo.experiment.train_parameters import LossName


def cross_entropy(logits, labels, label_smoothing=0.0):
    """Compute the mean cross-entropy.

    Args:
        logits: [batch, classes].
        labels: int32 [batch], or probabilities [batch, classes].
        label_smoothing: Share of the probability that is spread evenly over all classes.

    Returns:
        A scalar of the logits' dtype, at least float32.
    """
    logits = wide(logits)
    return -ops.mean(ops.sum(_targets(logits, labels, label_smoothing) * ops.log_softmax(logits), axis=-1))


def squared(logits, labels, label_smoothing=0.0):
    """Compute half the squared distance of logits and one-hot labels, summed over classes, averaged over the batch.

    sungyubkim/cifar_jax minimizes it (`optax.l2_loss`). Arguments and result are those of `cross_entropy`.
    """
    logits = wide(logits)
    return 0.5 * ops.mean(ops.sum(ops.square(logits - _targets(logits, labels, label_smoothing)), axis=-1))


LOSSES: dict[LossName, Callable] = {"cross_entropy": cross_entropy, "squared": squared}


def wide(logits):
    """Return logits in at least float32; bfloat16 has too few bits for a mean of logarithms."""
    return ops.cast(logits, "float32") if "float16" in str(logits.dtype) else logits


def _targets(logits, labels, label_smoothing):
    classes = logits.shape[-1]
    targets = labels if len(labels.shape) == 2 else ops.one_hot(labels, classes)
    targets = ops.cast(targets, logits.dtype)
    return (1 - label_smoothing) * targets + label_smoothing / classes if label_smoothing else targets


def error(logits, labels):
    """Compute the share of wrong predictions, a float32 scalar; in mixed labels the largest share counts."""
    if len(labels.shape) == 2:
        labels = ops.argmax(labels, axis=-1)
    wrong = ops.not_equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), ops.cast(labels, "int32"))
    return ops.mean(ops.cast(wrong, "float32"))
