"""Build one function on a batch from an experiment's `augmentation`, and run it."""

import importlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from keras import backend, ops

from cifarzoo.augment.base import CIFAR10_MEAN, DatasetFacts, Spec
from cifarzoo.augment.entries import specs_of
from cifarzoo.augment.random import Draws
from cifarzoo.errors import ExperimentError


class Kernel(Protocol):
    """A pure function that transforms a batch inside the compiled training step."""

    def __call__(self, parameters: Any, images: Any, labels: Any, draws: Draws, dataset: DatasetFacts) -> tuple:
        """Transform a batch.

        Args:
            parameters: The spec that names this kernel.
            images: [batch, height, width, 3] with values 0-255: uint8 until a kernel blends them, float32 after that.
            labels: int32 [batch], or float32 [batch, classes] once mixed.
            draws: The only source of randomness, used as often as the spec declares.
            dataset: Number of classes and mean color.

        Returns:
            Images and labels of the same shapes, except that a kernel may turn labels into rows of shares.
        """
        ...


def kernel_of(spec: Spec) -> Kernel:
    """Import the kernel that a spec names.

    Raises:
        ExperimentError: the user's own function or layer does not exist, or its arguments do not fit.
    """
    module, _, function = spec.kernel.partition(".")
    kernel = getattr(importlib.import_module(f"cifarzoo.augment.{module}"), function)
    return kernel(spec) if isinstance(kernel, type) else kernel


class Pipeline:
    """Augmentations in a row, each with its own stream of random numbers.

    On TensorFlow, those that follow one another are one XLA program even within a function that is not compiled by XLA.
    Otherwise each of their hundred small operations would read and write the whole batch, at four times the cost. The
    user's own code is not part of these programs, because XLA may lack its operations.

    Args:
        specs: The augmentations, in order.
        dataset: Number of classes and mean color; by default CIFAR-10's.

    Raises:
        ExperimentError: one of them cannot be built; the message says which.
    """

    def __init__(self, specs: Iterable[Spec], dataset: DatasetFacts | None = None):
        self.specs = tuple(specs)
        self.dataset = dataset or DatasetFacts()
        self._kernels: list[Kernel] = []
        for number, spec in enumerate(self.specs):
            try:
                self._kernels.append(kernel_of(spec))
            except ExperimentError as failure:
                raise ExperimentError(f"augmentation[{number}]: {failure}") from None
        self._programs: dict[tuple[int, tuple[int, ...]], Callable] = {}

    def __call__(self, images, labels, draws):
        """Transform a batch; see `Kernel` for shapes and types."""
        if not self.specs:
            return images, labels
        if backend.backend() != "tensorflow":
            return self._run(range(len(self.specs)), images, labels, draws)
        for fits_xla, group in itertools.groupby(range(len(self.specs)), lambda number: self.specs[number].fits_xla):
            run = self._compiled if fits_xla else self._run
            images, labels = run(tuple(group), images, labels, draws)
        return images, labels

    def run(self, images, labels, draws):
        """Transform a batch without compiling the kernels."""
        return self._run(range(len(self.specs)), images, labels, draws)

    def stages(self, images, labels, draws) -> Iterator[tuple[int, Any, Any]]:
        """Yield the number of each augmentation and the batch after it, without compiling the kernels."""
        return self._stages(range(len(self.specs)), images, labels, draws)

    def _run(self, numbers: Sequence[int], images, labels, draws):
        """Apply some of the augmentations, by their numbers."""
        result = images, labels
        for _, *result in self._stages(numbers, images, labels, draws):  # noqa: B007 (the last one counts)
            pass
        return tuple(result)

    def _stages(self, numbers: Sequence[int], images, labels, draws):
        counts = [
            (spec.draws_per_image, spec.draws_per_batch) if number in numbers else (0, 0)
            for number, spec in enumerate(self.specs)
        ]
        streams = draws.streams(counts)
        for number in numbers:
            try:
                images, labels = self._kernels[number](
                    self.specs[number], images, labels, streams[number], self.dataset
                )
            except ExperimentError as failure:  # of the user's own code
                raise ExperimentError(f"augmentation[{number}]: {failure}") from None
            yield number, images, labels

    def _compiled(self, numbers: tuple[int, ...], images, labels, draws):
        """Apply some of the augmentations as one XLA program."""
        return self._program(draws.seed, numbers)(
            images,
            labels,
            ops.cast(draws.step, "int32"),
            ops.cast(draws.index, "int32"),
            ops.cast(draws.epoch, "int32"),
            None if draws.image_id is None else ops.cast(draws.image_id, "int32"),
        )

    def _program(self, seed, numbers):
        """Return the compiled function for a seed and some of the augmentations."""
        import tensorflow as tf

        if (seed, numbers) not in self._programs:

            def program(images, labels, step, index, epoch, image_id):
                return self._run(numbers, images, labels, Draws(seed, step, index, epoch, image_id))

            self._programs[seed, numbers] = tf.function(program, jit_compile=True, autograph=False)
        return self._programs[seed, numbers]


def build(augmentation: str | list, classes: int = 10, fill: tuple[int, int, int] | None = None) -> Pipeline:
    """Build the pipeline of a name such as "standard", or of a list such as `["crop", {"cutout": {"size": 8}}]`.

    Args:
        augmentation: What `Experiment.augmentation` holds, or the same as plain data.
        classes: Number of classes of the data set.
        fill: Mean color of the data set (0-255); by default CIFAR-10's.

    Raises:
        ExperimentError: an unknown name, or parameters that do not fit; the message says which entry of the list.
    """
    return Pipeline(specs_of(augmentation), DatasetFacts(classes, fill or CIFAR10_MEAN))
