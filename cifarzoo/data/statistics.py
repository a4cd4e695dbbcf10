"""Mean and standard deviation of the training images, a channel, on the scale 0-255.

Computed over all 50,000 training images and checked against them in the tests. `synthetic` has no statistics of its
own: models that train on it normalise with CIFAR-10's.
"""

STATISTICS = {
    "cifar10": (
        (125.306918046875, 122.950394140625, 113.86538318359375),
        (62.9932192781369, 62.0887076400142, 66.7048996406309),
    ),
    "cifar100": (
        (129.304165605469, 124.069962695312, 112.434050058594),
        (68.1702428992064, 65.3918080438575, 70.4183701880494),
    ),
}


def channel_statistics(dataset: str) -> tuple[list[float], list[float]]:
    """Means and standard deviations (R, G, B; 0-255) of a data set's training images."""
    mean, std = STATISTICS["cifar10" if dataset == "synthetic" else dataset]
    return list(mean), list(std)


def mean_colour(dataset: str) -> tuple[int, int, int]:
    """The mean colour of a data set's training images, rounded to whole pixel values."""
    return tuple(round(value) for value in channel_statistics(dataset)[0])
