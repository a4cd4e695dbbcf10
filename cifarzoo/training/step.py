"""The training step, written once as a pure function in `keras.ops`; both engines compile it.

An engine brings two functions: automatic differentiation, and a way to order operations. It keeps the state between
steps as it likes and passes it in and out as a `State`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from cifarzoo.augment.resize import resize_down
from cifarzoo.training.losses import error as error_rate
from cifarzoo.training.optimizers.norms import ascend
from cifarzoo.training.optimizers.rule import Bound
from cifarzoo.training.parts import Parts
from cifarzoo.training.pruning import BoundPruning
from cifarzoo.training.state import State, VariableOrder


class Batch(NamedTuple):
    """Images of one step as the data set has them.

    Attributes:
        images: uint8 [batch, height, width, 3].
        labels: int32 [batch], or float32 [batch, classes].
        size: Height and width to train at.
    """

    images: Any
    labels: Any
    size: int


class TrainStep:
    """One step of training: augment, gradients, update, average, prune. A pure function of a `State`.

    Args:
        parts: What is trained.
        model: The Keras model; its own variables are neither read nor written.
        optimizer: The update rule of its variables.
        order: Its `VariableOrder`.
        pruning: The pruning of its kernels, if any.
        differentiate: Function of `objective`, (trainable, others, images, labels) and with a teacher (targets) to the
            gradients of the objective's first result and its second one.
        after: Function of (tensors, earlier tensors) to `tensors`, with a control dependency on `earlier`.
    """

    def __init__(
        self,
        parts: Parts,
        model: keras.Model,
        optimizer: Bound,
        order: VariableOrder,
        pruning: BoundPruning | None,
        differentiate: Callable[..., Any],
        after: Callable[..., Any],
    ):
        self._parts, self._model, self._optimizer, self._order = parts, model, optimizer, order
        self._pruning, self._differentiate, self._after = pruning, differentiate, after

    def __call__(self, state: State, batch: Batch, draws, step, rate, lessons=None):
        """Train one step.

        Args:
            state: The state before the step.
            batch: The images to train on.
            draws: Random numbers of the step's augmentation (`cifarzoo.augment.random.Draws`).
            step: Number of the step, counted from 0.
            rate: Learning rate, a scalar of the weights' dtype.
            lessons: The teacher's `Lessons`, if there is one.

        Returns:
            The new state; and loss, error and gradient norm (before clipping, without weight decay) as a tensor [3].
        """
        parts, teacher = self._parts, self._parts.teacher
        if teacher and teacher.views:
            draws = draws.in_view(draws.epoch % teacher.views)
        images, labels = parts.augment(batch.images, batch.labels, draws)
        targets = [teacher.targets(lessons, images, draws)] if teacher else []
        images = resize_down(ops.cast(images, self._model.inputs[0].dtype), batch.size)
        gradients, loss, error, others = self._gradients(state, [images, labels, *targets])
        trainable, slots, norm = self._optimizer.update(state.trainable, gradients, state.slots, rate, step)
        state = state._replace(trainable=list(trainable), others=list(others), slots=list(slots))
        if parts.averaging:
            averages, weights = parts.averaging.update(state.averages, self._order.weights(state), step)
            state = self._order.with_weights(state._replace(averages=list(averages)), weights)
        if self._pruning:
            state = self._pruning.update(state, step)
        dtype = trainable[0].dtype
        return state, ops.stack([ops.cast(value, dtype) for value in (loss, error, norm)])

    def objective(self, trainable, others, images, labels, targets=None):
        """Compute what a step differentiates with respect to `trainable`.

        Args:
            trainable: Values of the model's trainable variables.
            others: Values of its other variables: moving statistics, states of random layers.
            images: [batch, height, width, 3]; height and width may differ from the model's input.
            labels: int32 [batch], or float32 [batch, classes].
            targets: The teacher's logits [batch, classes], if there is one.

        Returns:
            The loss plus the model's own losses; and a tuple of loss, error and the new values of `others`.
        """
        parts, model = self._parts, self._model
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        mapping = list(zip(variables, [*trainable, *others], strict=True))
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            logits = model(ops.cast(images, model.inputs[0].dtype), training=True)
            own_losses = model.losses
        others = [scope.get_current_value(variable) for variable in model.non_trainable_variables]
        loss = parts.loss(logits, labels, parts.label_smoothing)
        if targets is not None and parts.teacher:
            loss = parts.teacher.loss(logits, targets, loss)
        total = loss + sum(ops.cast(own, loss.dtype) for own in own_losses)
        return total, (loss, error_rate(logits, labels), others)

    def _gradients(self, state, batch):
        """Compute the gradient of one step: one pass, several micro-batches, or SAM's two passes.

        With `accumulate` it is the mean over that many equal parts of the batch, computed one after another; each part
        has BatchNormalization statistics of its own, and the moving statistics follow all of them. With `sam_rho` it is
        the gradient one step of that length uphill (https://arxiv.org/abs/2010.01412); loss, error and new statistics
        are those of the first pass, and random layers draw the same numbers in both.

        Pruned weights have no gradient: they have no share in SAM's step, and do not count in norms.

        Args:
            state: The state before the step.
            batch: The augmented images, their labels and, with a teacher, its logits for them.

        Returns:
            Gradients, loss, error, new values of `others`.
        """
        parts = self._parts

        def mean_over_micro_batches(trainable):
            count, others = parts.accumulate, state.others
            sums: list[Any] = []
            for number in range(count):
                # Strided, so that every replica's share of the batch has an equal share of each micro-batch.
                part = [values[number::count] for values in batch] if count > 1 else batch
                if sums:
                    part = self._after(part, sums)
                gradients, (loss, error, others) = self._differentiate(self.objective, trainable, others, *part)
                values = [*gradients, loss, error]
                sums = [a + b for a, b in zip(sums, values, strict=True)] if sums else values
            *gradients, loss, error = [value / count for value in sums] if count > 1 else sums
            if self._pruning:
                gradients = self._pruning.masked(gradients, state.masks)
            return gradients, loss, error, others

        gradients, loss, error, others = mean_over_micro_batches(state.trainable)
        if parts.sam_rho:
            gradients, *_ = mean_over_micro_batches(ascend(state.trainable, gradients, parts.sam_rho))
        return gradients, loss, error, others
