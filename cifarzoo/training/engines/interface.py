"""What an engine is: the protocols that a new one is written against.

An engine module is one of the table in `cifarzoo.training.engines`. It implements `EngineModule`, and its engines
implement `Engine`. Everything about a step except differentiation and memory is in `cifarzoo.training.step`.
"""

import contextlib
from typing import Any, Protocol

import keras
import numpy as np

from cifarzoo.data import Dataset
from cifarzoo.training.engines.channel import Channel
from cifarzoo.training.parts import Parts

# What a training call sums over its steps.
SUMS = ("loss", "error", "gradient_norm")


def named_sums(values: Any) -> dict[str, float]:
    """Name the three sums of a training call, an array [3]."""
    return dict(zip(SUMS, map(float, np.asarray(values)), strict=True))


class EngineTeacher(Protocol):
    """The teacher of an engine."""

    def logits(self, split: str, view: int | None = None) -> np.ndarray:
        """Compute the teacher's logits of a whole split, float32 [images, classes].

        Args:
            split: The split.
            view: Augment the images as in this view, see `Draws.in_view`; None leaves them as they are.
        """
        ...

    def keep(self, logits: np.ndarray) -> None:
        """Train on these logits of a teacher with `views`, float16 [views, training images, classes].

        Call it before `Engine.train`.
        """
        ...


class Engine(Protocol):
    """Trains one run. Construct it with `Parts`, a `Dataset` and a seed.

    Attributes:
        model: The Keras model. Its weights are current after `sync_model`; engines may keep the current ones elsewhere
            while they train.
        seed: Of initial weights, order of images, augmentation and random layers.
        replicas: Number of devices that share a batch.
        images_at_once: Number of images over which BatchNormalization takes its statistics.
        teacher: What `Parts.teacher` needs on the devices; None without a teacher.
    """

    model: keras.Model
    seed: int
    replicas: int
    images_at_once: int

    @property
    def teacher(self) -> EngineTeacher | None: ...  # noqa: D102

    def train(self, first_step: int, indices: np.ndarray, learning_rates: np.ndarray) -> dict[str, float]:
        """Train `len(indices)` steps in one compiled call.

        All steps have images of one size, so a call must not extend over a change of `Parts.image_size`.

        Args:
            first_step: Number of the first of these steps, counted from 0.
            indices: Positions in the training split, int32 [steps, batch_size].
            learning_rates: float64 [steps].

        Returns:
            Sums over the steps of `SUMS`.
        """
        ...

    def predict(self, split: str) -> np.ndarray:
        """Compute the logits of a whole split with the weights to evaluate, float32 [images, classes]."""
        ...

    def averaged_weights(self) -> contextlib.AbstractContextManager[keras.Model]:
        """Inside the block, the model holds the averaged weights; without averaging, the current ones.

        A value assigned to one of the model's weights inside the block replaces both its average and its trained value.
        """
        ...

    def sync_model(self) -> None:
        """Make the model's weights current.

        Values that a callback then assigns to the model's variables are those that training continues with.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return everything the next step depends on, except its number, named by `VariableOrder.named`."""
        ...

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Set what `state` returned, of this engine or another one; the caller has checked names and shapes."""
        ...


class EngineGroup(Protocol):
    """Trains several engines of the same parts with different seeds in one program."""

    def train(self, first_step: int, indices: np.ndarray, learning_rates: np.ndarray) -> list[dict[str, float]]:
        """Train every engine; as `Engine.train`, with `indices` int32 [engines, steps, batch_size]."""
        ...


class EngineModule(Protocol):
    """The functions of an engine module."""

    def join_cluster(self, distribution: str) -> None:
        """Join the other workers, if the distribution and TF_CONFIG say that there are any.

        Comes before anything runs on the backend's devices. A second call does nothing.

        Raises:
            ExperimentError: the distribution needs what this machine or its environment does not have.
        """
        ...

    def workers(self, distribution: str) -> Channel:
        """Return the channel to the other workers; it does nothing in a run of one process."""
        ...

    def replica_count(self, distribution: str) -> int:
        """Return the number of devices that share a batch."""
        ...

    def is_chief(self, distribution: str) -> bool:
        """Whether this process writes the files of a run; of several workers one does."""
        ...

    def create_engine(self, parts: Parts, dataset: Dataset, seed: int) -> Engine:
        """Create the engine of one run."""
        ...

    def create_group(self, engines: list) -> EngineGroup:
        """Combine engines that differ in their seed only.

        Raises:
            ExperimentError: this backend cannot.
        """
        ...
