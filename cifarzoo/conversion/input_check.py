"""Compare what normalizes the input by a checkpoint's own arrays with what a table or a user says."""

import numpy as np

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.conversion.state import input_statistics
from cifarzoo.data.statistics import PER_PIXEL, Statistics, channel_statistics, text_of


def contradiction(checkpoint: Checkpoint, statistics: Statistics | None, part: str | None = None) -> str:
    """Return what a checkpoint says otherwise about the normalization of its input, "" if nothing.

    Args:
        checkpoint: The checkpoint.
        statistics: What normalizes the input by the table or the user.
        part: See `state.state_of`.

    Raises:
        WeightsError: see `state.state_of`.
    """
    own = input_statistics(checkpoint, part)
    if own is None or statistics is None:
        return ""
    mean, std = (np.asarray(values, np.float64) for values in own)
    scale = 1 if max(np.abs(mean).max(), std.max()) <= 1 else 255
    if statistics != PER_PIXEL:
        known = (np.array(values) / 255 * scale for values in channel_statistics(statistics))
        if all(np.allclose(*pair, rtol=1e-3) for pair in zip((mean, std), known, strict=True)):
            return ""
    mu, sigma = (", ".join(f"{value:g}" for value in values) for values in (mean, std))
    return f"the file normalizes the input by mu ({mu}) and sigma ({sigma}), not by {text_of(statistics)}"
