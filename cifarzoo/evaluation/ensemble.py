"""Average the probabilities of several networks. NumPy only."""

from collections.abc import Sequence

import numpy as np

from cifarzoo.errors import DataError
from cifarzoo.evaluation.predictions import Predictions
from cifarzoo.metrics import log_softmax


def ensemble(members: Sequence[Predictions]) -> Predictions:
    """Return the predictions of an ensemble: the mean of its members' probabilities.

    Args:
        members: Predictions for the same splits of the same data set.

    Returns:
        Predictions whose logits are the logarithms of the mean probabilities, float32. `images_per_second` is the rate
        of running all members; `train_split` is "" unless all were trained on the same split.

    Raises:
        DataError: the members were measured on different data.
    """
    first = members[0]
    result = Predictions(
        "mean probabilities of " + ", ".join(member.weights for member in members),
        first.dataset,
        first.train_split if len({member.train_split for member in members}) == 1 else "",
        class_names=first.class_names,
    )
    for member in members[1:]:
        if (member.dataset, member.class_names) != (first.dataset, first.class_names):
            raise DataError(
                f"{member.weights}: measured on {member.dataset}, {first.weights} on {first.dataset}; the members of "
                "an ensemble need the same data set"
            )
    for split, labels in first.labels.items():
        for member in members[1:]:
            if split not in member.labels or not np.array_equal(member.labels[split], labels):
                raise DataError(f"{member.weights}: measured on other {split} images than {first.weights}")
        logarithms = np.stack([log_softmax(member.logits[split]) for member in members])
        mean = np.logaddexp.reduce(logarithms, axis=0) - np.log(len(members))
        result.logits[split], result.labels[split] = mean.astype(np.float32), labels
        if split in first.soft_labels:
            result.soft_labels[split] = first.soft_labels[split]
        speeds = [member.measured.get(split, {}).get("images_per_second", 0) for member in members]
        if all(speeds):
            result.measured[split] = {"images_per_second": round(1 / sum(1 / speed for speed in speeds), 1)}
    return result
