"""Cut batches and calls: equal shares of a batch, and always the same shapes, so that nothing is compiled twice."""

import numpy as np

from cifarzoo.errors import ExperimentError


def check_shares(batch_size: int, accumulate: int, replicas: int) -> None:
    """Raise ExperimentError unless the replicas and their micro-batches can share the batch evenly."""
    if batch_size % (replicas * accumulate):
        shares = [f"{replicas} replicas"] if replicas > 1 else []
        shares += [f"{accumulate} parts (accumulate)"] if accumulate > 1 else []
        raise ExperimentError(
            f"train_parameters.batch_size: {batch_size} images cannot be shared evenly by {' of '.join(shares)}; "
            f"expected a multiple of {replicas * accumulate}"
        )


def padded(values: np.ndarray, length: int) -> np.ndarray:
    """Append zeros along the first axis, up to `length`."""
    return np.concatenate([values, np.zeros((length - len(values), *values.shape[1:]), values.dtype)])


def evaluation_indices(count: int, batch_size: int, replicas: int) -> np.ndarray:
    """Cut `count` images into batches that replicas share evenly; the last one is filled up with the last image.

    Returns:
        int32 [batches, about `batch_size`], in order, so that the first `count` results are those of the images.
    """
    batch = -(-min(batch_size, count) // replicas) * replicas
    return np.minimum(np.arange(count + -count % batch), count - 1).astype(np.int32).reshape(-1, batch)
