"""The fixed first layer of the fast-training line: it makes the colours of a neighbourhood uncorrelated."""

import numpy as np
from keras import layers

from cifarzoo.data.statistics import patch_covariance


def whitening_filters(covariance, epsilon):
    """Filters under which patches of this covariance are uncorrelated, strongest pattern first.

    Args:
        covariance: Of the flattened patches, [n, n].
        epsilon: Added to the eigenvalues, so that the faintest patterns are not blown up to noise.

    Returns:
        [n, n], a filter a column: eigenvectors over the square root of their eigenvalues plus `epsilon`. The largest
        component of each is positive, since a sign is arbitrary.
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(values))])
    return vectors / np.sqrt(values + epsilon)


def whitening(x, statistics, size, epsilon, *, padding, both_signs=False):
    """A fixed convolution that whitens the patches of normalised images.

    Args:
        x: Normalised images, [batch, height, width, 3].
        statistics: The data set whose patches are to be uncorrelated.
        size: Height and width of a patch, 2 or 3.
        epsilon: See `whitening_filters`.
        padding: "same" or "valid".
        both_signs: Whether every filter's negative follows them all, for activations that pass one sign only.
    """
    filters = whitening_filters(patch_covariance(statistics, size), epsilon)
    if both_signs:
        filters = np.concatenate([filters, -filters], axis=1)
    layer = layers.Conv2D(filters.shape[1], size, padding=padding, use_bias=False, trainable=False, name="whitening")
    x = layer(x)
    layer.kernel.assign(filters.reshape(size, size, 3, -1))
    return x
