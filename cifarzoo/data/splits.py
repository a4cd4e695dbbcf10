"""The published split: 45,000 images to train on and 5,000 to choose hyper-parameters with.

He et al. (2015) hold out 5,000 of the 50,000 training images without saying which, and most later papers do the same.
Here it is fixed: of every class, the last tenth of its images in canonical order is "validation" and the rest is
"train45k"; inside each part canonical order stays. No random numbers, so that the split can be stated in one sentence,
and both parts have the classes in the same proportions. The test split is never used to choose anything.
"""

import numpy as np


def published_split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of "train45k" and of "validation", each ascending, for the labels [n] of a training split.

    A class with m images gives its last `m // 10` to validation. CIFAR-100 is split by its fine labels.
    """
    validation = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        validation[places[len(places) - len(places) // 10 :]] = True
    return np.flatnonzero(~validation), np.flatnonzero(validation)
