"""The order in which a run sees the training images."""

import numpy as np


def stream_indices(seed: int, images: int, first: int, count: int) -> np.ndarray:
    """Places `first` to `first + count` of the endless stream of shuffled epochs: int32 [count].

    Epoch e is a permutation that depends on (seed, e) alone; `RandomState` keeps its numbers over NumPy versions.
    """
    epochs = range(first // images, (first + count - 1) // images + 1)
    order = np.concatenate([np.random.RandomState([seed, epoch]).permutation(images) for epoch in epochs])
    start = first - epochs[0] * images
    return order[start : start + count].astype(np.int32)
