"""Names and sizes of the splits, and the published split: 45,000 images to train on, 5,000 to validate on.

He et al. (2015) hold out 5,000 of the 50,000 training images without saying which, and most later papers do the same.
Here the choice is fixed: the last tenth of every class in canonical order is "validation", the rest is "train45k". Both
parts keep canonical order. The rule uses no random numbers, so one sentence states it, and both parts have the same
class proportions. The test split is never used to choose anything.
"""

import numpy as np

# Images per split of CIFAR-10 and CIFAR-100.
IMAGES = {"train": 50_000, "test": 10_000, "train45k": 45_000, "validation": 5_000}
SPLITS = tuple(IMAGES)


def published_split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of "train45k" and "validation", both ascending, for the labels [n] of a training split.

    A class of m images gives its last `m // 10` to validation. CIFAR-100 is split by its fine labels.
    """
    validation = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        validation[members[len(members) - len(members) // 10 :]] = True
    return np.flatnonzero(~validation), np.flatnonzero(validation)
