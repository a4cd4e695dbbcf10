"""Build one function on a batch from an experiment's `augmentation`, and run it."""

import importlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from keras import backend, ops

from cifarzoo.augment.base import CIFAR10_MEAN, DatasetFacts, Spec
from cifarzoo.augment.entries import specs_of
from cifarzoo.augment.random import Draws


class Kernel(Protocol):
    """A pure function that transforms a batch inside the compiled training step."""

    def __call__(self, parameters: Any, images: Any, labels: Any, draws: Draws, dataset: DatasetFacts) -> tuple:
        """Transform a batch.

        Args:
            parameters: The spec that names this kernel.
            images: [batch, height, width, 3] with values 0-255: uint8 until a kernel blends them, float32 after that.
            labels: int32 [batch], or float32 [batch, classes] once mixed.
            draws: The only source of randomness, used as often as the spec declares.
            dataset: Number of classes and mean colour.

        Returns:
            Images and labels of the same shapes, except that a kernel may turn labels into rows of shares.
        """
        ...


def kernel_of(spec: Spec) -> Kernel:
    """Import the kernel that a spec names."""
    module, _, function = spec.kernel.partition(".")
    return getattr(importlib.import_module(f"cifarzoo.augment.{module}"), function)


class Pipeline:
    """Augmentations in a row, each with its own stream of random numbers.

    On TensorFlow they are one XLA program even within a function that is not compiled by XLA. Otherwise each of their
    hundred small operations would read and write the whole batch, at four times the cost.

    Args:
        specs: The augmentations, in order.
        dataset: Number of classes and mean colour; by default CIFAR-10's.
    """

    def __init__(self, specs: Iterable[Spec], dataset: DatasetFacts | None = None):
        self.specs = tuple(specs)
        self.dataset = dataset or DatasetFacts()
        self._kernels = [kernel_of(spec) for spec in self.specs]
        self._programs: dict[int, Callable] = {}

    def __call__(self, images, labels, draws):
        """Transform a batch; see `Kernel` for shapes and types."""
        if not self.specs:
            return images, labels
        if backend.backend() != "tensorflow":
            return self.run(images, labels, draws)
        return self._program(draws.seed)(
            images,
            labels,
            ops.cast(draws.step, "int32"),
            ops.cast(draws.index, "int32"),
            ops.cast(draws.epoch, "int32"),
            None if draws.image_id is None else ops.cast(draws.image_id, "int32"),
        )

    def run(self, images, labels, draws):
        """Transform a batch without compiling the kernels."""
        counts = [(spec.draws_per_image, spec.draws_per_batch) for spec in self.specs]
        for kernel, spec, numbers in zip(self._kernels, self.specs, draws.streams(counts), strict=True):
            images, labels = kernel(spec, images, labels, numbers, self.dataset)
        return images, labels

    def _program(self, seed):
        """Return the compiled function for a seed."""
        import tensorflow as tf

        if seed not in self._programs:

            def program(images, labels, step, index, epoch, image_id):
                return self.run(images, labels, Draws(seed, step, index, epoch, image_id))

            self._programs[seed] = tf.function(program, jit_compile=True, autograph=False)
        return self._programs[seed]


def build(augmentation: str | list, classes: int = 10, fill: tuple[int, int, int] | None = None) -> Pipeline:
    """Build the pipeline of a name such as "standard", or of a list such as `["crop", {"cutout": {"size": 8}}]`.

    Args:
        augmentation: What `Experiment.augmentation` holds, or the same as plain data.
        classes: Number of classes of the data set.
        fill: Mean colour of the data set (0-255); by default CIFAR-10's.

    Raises:
        ExperimentError: an unknown name, or parameters that do not fit; the message says which entry of the list.
    """
    return Pipeline(specs_of(augmentation), DatasetFacts(classes, fill or CIFAR10_MEAN))
