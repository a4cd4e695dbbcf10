"""Knowledge distillation: train on the outputs of other networks besides the labels.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015 (https://arxiv.org/abs/1503.02531), section 2.
The teacher sees the augmented and mixed image that the student sees, as in Beyer et al., Knowledge distillation: A good
teacher is patient and consistent, 2022 (https://arxiv.org/abs/2106.05237), but always at full size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from cifarzoo.augment.random import Draws
from cifarzoo.keras_internals.fast_paths import fast_paths
from cifarzoo.models.macs import macs
from cifarzoo.training.losses import wide


class Lessons(NamedTuple):
    """What an engine passes to a compiled step for `Teacher.targets`, as tensors on the device.

    Attributes:
        values: Of each teacher the values of `model.variables`; empty with views. (None in JAX's tree of axes.)
        logits: With views float16 [views, training images, classes], else None.
    """

    values: list[list[Any]] | None
    logits: Any = None


@dataclass(frozen=True)
class Teacher:
    """The teachers of a run, and the loss they are learned with.

    The loss of a step is `weight * temperature^2 * KL(teacher || student) + (1 - weight) * loss(labels)`, with both
    distributions at `temperature`: softmax(logits / temperature). The square keeps the size of the gradients nearly
    independent of the temperature. Several teachers stand for the mean of their logits, which is the normalized
    geometric mean of their distributions.

    Attributes:
        load: Returns the teachers' Keras models, the same ones in every call.
        temperature: Of both distributions.
        weight: Share of the teachers in the loss.
        views: Number of fixed augmented views of every training image, whose logits are computed once; None computes
            them in every step.
    """

    load: Callable[[], list[keras.Model]]
    temperature: float
    weight: float
    views: int | None

    @property
    def models(self) -> list[keras.Model]:
        """The teachers, loaded when they are first needed."""
        return self.load()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all teachers for one image."""
        return sum(map(macs, self.models))

    def loss(self, logits, targets, label_loss):
        """Combine the loss on labels with the divergence from the teachers.

        Args:
            logits: The student's, [batch, classes].
            targets: The teachers', [batch, classes].
            label_loss: The loss on labels, a scalar.

        Returns:
            A scalar of the dtype of `label_loss`.
        """
        logits = wide(logits) / self.temperature
        targets = ops.stop_gradient(ops.cast(targets, logits.dtype)) / self.temperature
        log_student, log_teacher = ops.log_softmax(logits), ops.log_softmax(targets)
        divergence = ops.mean(ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1))
        distilled = self.weight * self.temperature**2 * divergence
        return ops.cast(distilled, label_loss.dtype) + (1 - self.weight) * label_loss

    def targets(self, lessons: Lessons, images, draws: Draws):
        """Return the teachers' logits for a batch, [batch, classes].

        Args:
            lessons: What the engine keeps for this function.
            images: The augmented batch, full size.
            draws: Those it was augmented with, after `in_view` with views.
        """
        if lessons.logits is None:
            return self.logits(lessons.values, images)
        count, classes = lessons.logits.shape[1:]
        positions = ops.reshape(draws.epoch, [-1]) * count + draws.image_id  # `epoch` is the number of the view
        return ops.take(ops.reshape(lessons.logits, [-1, classes]), positions, axis=0)

    def logits(self, values, images):
        """Compute the mean of the teachers' logits, float32 or float64 [batch, classes].

        BatchNormalization is in inference mode and nothing is updated.

        Args:
            values: See `Lessons`.
            images: [batch, height, width, 3] with pixels 0-255.
        """
        outputs = []
        for model, own_values in zip(self.models, values, strict=True):
            mapping = list(zip(model.variables, own_values, strict=True))
            with keras.StatelessScope(mapping), fast_paths(model, training=False):
                outputs.append(wide(model(ops.cast(images, model.inputs[0].dtype), training=False)))
        return sum(outputs[1:], start=outputs[0]) / len(outputs)
