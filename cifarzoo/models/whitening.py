"""The fixed first layer of ResNet-9 and airbench: it decorrelates the pixels of small patches."""

import numpy as np
from keras import layers

from cifarzoo.data.classes import dataset_with
from cifarzoo.data.statistics import patch_covariance
from cifarzoo.errors import ModelError
from cifarzoo.models.arguments import IMAGE_SIZE
from cifarzoo.models.common_layers import ModelOptions


def whitening_filters(covariance, epsilon):
    """Return filters whose responses to patches of this covariance are uncorrelated, strongest pattern first.

    Args:
        covariance: Covariance of the flattened patches, [n, n].
        epsilon: Added to the eigenvalues, so that the faintest patterns are not amplified to noise.

    Returns:
        [n, n], one filter per column: the eigenvectors divided by sqrt(eigenvalue + `epsilon`). The component of
        largest magnitude is positive in each, because the sign of an eigenvector is arbitrary.
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(values))])
    return vectors / np.sqrt(values + epsilon)


def whitening(x, options: ModelOptions, size, epsilon, *, padding, both_signs=False):
    """Apply a fixed convolution that whitens the patches of normalized images.

    Args:
        x: Normalized images, [batch, height, width, 3].
        options: The factory's. Patches of the training images become uncorrelated: of the data set whose statistics
            normalize the input, if these are a data set's, else of the one with this number of classes.
        size: Height and width of a patch, 2 or 3.
        epsilon: See `whitening_filters`.
        padding: "same" or "valid".
        both_signs: Append the negative of every filter, for activations that pass only one sign.

    Returns:
        [batch, height, width, filters]: 3 * size² filters, twice as many with `both_signs`.

    Raises:
        ModelError: The images are of another size than CIFAR's, whose patches would not be whitened.
    """
    if (side := options["image_size"]) != IMAGE_SIZE:
        raise ModelError(f"image_size is 32 here, as the first layer whitens patches of CIFAR's images, got {side}")
    statistics = options["statistics"]
    dataset = statistics if statistics in ("cifar10", "cifar100") else dataset_with(options["classes"])
    filters = whitening_filters(patch_covariance(dataset, size, statistics), epsilon)
    if both_signs:
        filters = np.concatenate([filters, -filters], axis=1)
    layer = layers.Conv2D(filters.shape[1], size, padding=padding, use_bias=False, trainable=False, name="whitening")
    x = layer(x)
    layer.kernel.assign(filters.reshape(size, size, 3, -1))
    return x
