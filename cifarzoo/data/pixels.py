"""Recognize images that were scaled before they reached a model; models normalize images themselves."""

import numpy as np


def scaling_problem(images: np.ndarray) -> str:
    """Return one line that says why images do not look like pixels from 0 to 255; "" if they do.

    Args:
        images: [n, height, width, 3], any type. Only the first 500 are examined.
    """
    some = np.asarray(images[:500])
    if not some.size:
        return ""
    low, high = float(some.min()), float(some.max())
    if low < 0:
        kind = "as if they were standardized"
    elif 0 < high <= 1:
        kind = "as if they were divided by 255"
    else:
        return ""
    return (
        f"images with values from {low:.3g} to {high:.3g} look {kind}; the models take pixels from 0 to 255 and "
        "normalize them themselves (include_preprocessing=False turns this off)"
    )
