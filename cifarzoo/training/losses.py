"""Losses and errors of a batch of logits, in `keras.ops`, so that both engines share them."""

from keras import ops


def cross_entropy(logits, labels, label_smoothing=0.0):
    """Mean cross-entropy.

    Args:
        logits: [batch, classes].
        labels: int32 [batch], or probabilities [batch, classes].
        label_smoothing: Share of the probability that is spread evenly over all classes.

    Returns:
        A scalar of the logits' dtype.
    """
    if "float16" in str(logits.dtype):  # bfloat16 too: its eight bits are too few for a mean of logarithms
        logits = ops.cast(logits, "float32")
    classes = logits.shape[-1]
    log_probabilities = ops.log_softmax(logits)
    targets = labels if len(labels.shape) == 2 else ops.one_hot(labels, classes)
    targets = ops.cast(targets, log_probabilities.dtype)
    if label_smoothing:
        targets = (1 - label_smoothing) * targets + label_smoothing / classes
    return -ops.mean(ops.sum(targets * log_probabilities, axis=-1))


def error(logits, labels):
    """Share of wrong predictions, float32 scalar; of mixed labels the largest counts."""
    if len(labels.shape) == 2:
        labels = ops.argmax(labels, axis=-1)
    wrong = ops.not_equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), ops.cast(labels, "int32"))
    return ops.mean(ops.cast(wrong, "float32"))
