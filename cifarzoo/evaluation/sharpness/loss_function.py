"""The loss of a model over a set of images, as a function of its trainable parameters, and its derivatives."""

import contextlib
import copy
from collections.abc import Iterator
from typing import get_args

import keras
import numpy as np
from keras import ops

from cifarzoo.errors import DataError, ModelError
from cifarzoo.evaluation.sharpness.derivatives import backend_derivatives
from cifarzoo.experiment.train_parameters import LossName
from cifarzoo.hardware import full_float32
from cifarzoo.keras_internals.batch_statistics import batch_statistics
from cifarzoo.metrics import are_probabilities

LOSSES = get_args(LossName)
BATCH_NORM_MODES = ("inference", "batch")


class LossFunction:
    """The mean loss of a model over images, as a function of its trainable parameters in one vector.

    Vectors are NumPy arrays [parameters] in the model's float type, in the order of `model.trainable_variables`.
    Nothing is random: dropout and the like are off, images are not augmented, and losses that layers add do not count.
    Each chunk of images is one compiled call; sums over chunks are float64. The constructor copies the model's weights,
    which never change.

    Args:
        model: Any Keras model that maps images to logits.
        images: [n, height, width, channels] in the model's input range; uint8 0-255 for a model of the zoo.
        labels: Integers [n].
        loss: "cross_entropy", or "squared": half the squared distance of the logits to the one-hot label, summed over
            classes.
        weight_decay: Coefficient w of the penalty w/2 times the squared norm of the decayed parameters.
        decay_all: Decay all parameters instead of kernels only (more than one dimension), as in training.
        batch_norm: "inference" uses the moving statistics; "batch" uses the statistics of each chunk, whose images then
            depend on each other.
        chunk: Images per compiled call.

    Attributes:
        parameters: Length of vectors.
        decayed: Number of parameters that are decayed.
        weights: The parameters, a vector.
        chunks: Slices of the images.

    Raises:
        ModelError: an argument is invalid, or the model does not return logits.
        DataError: images and labels do not match, or the weights are not finite.
    """

    def __init__(
        self,
        model: keras.Model,
        images: np.ndarray,
        labels: np.ndarray,
        loss: str = "cross_entropy",
        weight_decay: float = 0.0,
        decay_all: bool = False,
        batch_norm: str = "inference",
        chunk: int = 125,
    ):
        for name, value, known in (("loss", loss, LOSSES), ("batch_norm", batch_norm, BATCH_NORM_MODES)):
            if value not in known:
                raise ModelError(f"{name} {value!r}: expected {' or '.join(known)}")
        if not (weight_decay >= 0 and chunk >= 1):
            raise ModelError(f"expected weight_decay >= 0 and chunk >= 1, got {weight_decay} and {chunk}")
        self.model, self.loss_name, self.weight_decay, self.batch_norm = model, loss, weight_decay, batch_norm
        self._input_dtype = model.inputs[0].dtype if getattr(model, "inputs", None) else model.compute_dtype
        outputs = model(ops.convert_to_tensor(images[:chunk], self._input_dtype), training=False)
        _check_model(model, ops.convert_to_numpy(outputs))
        self._chunk_size, self._output_shape = chunk, tuple(outputs.shape)
        self._take(images, labels)
        trainable = model.trainable_variables
        self.weights = np.concatenate([np.ravel(ops.convert_to_numpy(v)) for v in trainable])
        self.parameters, self.dtype = len(self.weights), self.weights.dtype
        self._shapes = [tuple(v.shape) for v in trainable]
        self._decay = np.concatenate(
            [np.full(int(np.prod(s)), decay_all or len(s) > 1, self.dtype) for s in self._shapes]
        )
        self.decayed = int(self._decay.sum())
        self._others = [ops.copy(v.value) for v in model.non_trainable_variables]
        derivatives = self._derivatives = backend_derivatives()
        self._values = derivatives.compile(self._sum)
        self._gradients = derivatives.compile(lambda w, *d: derivatives.gradient(lambda t: self._sum(t, *d), w))
        self._products = derivatives.compile(
            lambda w, v, *d: derivatives.hessian_vector(lambda t: self._sum(t, *d), w, v)
        )
        self._forms = {order: derivatives.compile(self._forms_of_order(order)) for order in (1, 2)}

    def __len__(self) -> int:
        return len(self.images)

    def over(self, images: np.ndarray, labels: np.ndarray) -> "LossFunction":
        """Return the same function over other images, with the same compiled calls.

        Raises:
            DataError: images and labels do not match.
        """
        other = copy.copy(self)
        other._take(images, labels)
        return other

    def _take(self, images, labels):
        _check_images(self.model.name, self._output_shape, images, labels)
        self.images, self.labels = images, np.asarray(labels, np.int32)
        starts = range(0, len(images), self._chunk_size)
        self.chunks = [slice(i, min(i + self._chunk_size, len(images))) for i in starts]

    # ---------------------------------------------------------------------------------------------- NumPy vectors

    @full_float32()
    def loss(self, displacement: np.ndarray | None = None) -> float:
        """Return the loss at the weights, or at the weights plus `displacement`."""
        at = self._at(displacement)
        total = sum(float(ops.convert_to_numpy(self._values(at, *data))) for data in self._data())
        return self._finite(total / len(self)) + self._penalty(displacement)

    @full_float32()
    def gradient(self, displacement: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return loss and gradient at the weights, or at the weights plus `displacement`."""
        at, total, gradient = self._at(displacement), 0.0, np.zeros(self.parameters)
        for data in self._data():
            value, part = self._gradients(at, *data)
            total += float(ops.convert_to_numpy(value))
            gradient += ops.convert_to_numpy(part)
        decay = self.weight_decay * self._decay * self._displaced(displacement)
        loss = self._finite(total / len(self)) + self._penalty(displacement)
        return loss, (gradient / len(self) + decay).astype(self.dtype)

    @full_float32()
    def hessian_vector(self, v: np.ndarray) -> np.ndarray:
        """Return the product of the Hessian at the weights and a vector."""
        v = np.asarray(v, self.dtype)
        at, direction, total = self._at(None), ops.convert_to_tensor(v), np.zeros(self.parameters)
        for data in self._data():
            total += ops.convert_to_numpy(self._products(at, direction, *data))
        self._finite(total.sum())
        return (total / len(self) + self.weight_decay * self._decay * v).astype(self.dtype)

    @full_float32()
    def quadratic_forms(self, v: np.ndarray, chunk: slice, hessian: bool = True) -> np.ndarray:
        """Return the quadratic forms v'Mv of three matrices M, as means over the images of one chunk.

        Args:
            v: The vector; a narrower type, such as int8 for signs, is allowed.
            chunk: One of `chunks`.
            hessian: Whether to include the Hessian; without it the call costs less than half.

        Returns:
            float64 [3]: the forms of the Hessian with the weight-decay term (NaN without `hessian`), of the Fisher
            matrix, and of the NTK's J'J.
        """
        sums = self._forms[2 if hessian else 1](self._at(None), ops.convert_to_tensor(v), *self._chunk(chunk))
        forms = np.asarray(ops.convert_to_numpy(sums), np.float64) / (chunk.stop - chunk.start)
        self._finite(forms.sum())
        decay = self.weight_decay * float(np.dot(self._decay, np.square(v, dtype=np.float64)))
        return forms + np.array([decay if hessian else np.nan, 0, 0])

    def _displaced(self, displacement):
        return self.weights if displacement is None else self.weights + np.asarray(displacement, self.dtype)

    def _at(self, displacement):
        return ops.convert_to_tensor(self._displaced(displacement))

    def _penalty(self, displacement):
        return self.weight_decay / 2 * float(np.dot(self._decay, np.square(self._displaced(displacement), dtype="f8")))

    def _chunk(self, chunk):
        return ops.convert_to_tensor(self.images[chunk], self._input_dtype), ops.convert_to_tensor(self.labels[chunk])

    def _data(self) -> Iterator:
        return map(self._chunk, self.chunks)

    def _finite(self, value):
        if not np.isfinite(value):
            raise DataError(f"{self.model.name}: the loss or a derivative is not finite in {self.dtype}")
        return value

    # ---------------------------------------------------------------------------------------------- traced functions

    def _logits(self, weights, images):
        # The derivative of one split is one concatenation; that of each slice would be a sum over the whole vector.
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1].tolist()
        parts = ops.split(weights, ends) if ends else [weights]
        tensors = [ops.reshape(part, shape) for part, shape in zip(parts, self._shapes, strict=True)]
        # The stateless call drops new moving statistics, which batch statistics would otherwise update.
        with batch_statistics() if self.batch_norm == "batch" else contextlib.nullcontext():
            return self.model.stateless_call(tensors, self._others, images, training=False)[0]

    def _targets(self, logits, labels):
        return ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)

    def _sum(self, weights, images, labels):
        """Return the loss summed over a chunk, without weight decay."""
        logits = self._logits(weights, images)
        targets = self._targets(logits, labels)
        if self.loss_name == "squared":
            return ops.sum(ops.square(logits - targets)) / 2
        return -ops.sum(targets * ops.log_softmax(logits))

    def _forms_of_order(self, order):
        def forms(weights, v, images, labels):
            v = ops.cast(v, weights.dtype)
            logits, d1, *d2 = self._derivatives.along(lambda w: self._logits(w, images), weights, v, order)
            ntk = ops.sum(ops.square(d1))
            if self.loss_name == "squared":
                prediction, fisher = logits, ntk
            else:
                prediction = ops.softmax(logits)
                centered = d1 - ops.sum(prediction * d1, axis=-1, keepdims=True)
                fisher = ops.sum(prediction * ops.square(centered))
            # Chain rule: the loss's own curvature, the Fisher form, plus its slope times the logits' curvature.
            slope = prediction - self._targets(logits, labels)
            hessian = fisher + ops.sum(slope * d2[0]) if d2 else ops.zeros_like(fisher)
            return ops.stack([hessian, fisher, ntk])

        return forms


def _check_images(name, output_shape, images, labels):
    if len(images) != len(labels) or not len(labels):
        raise DataError(f"expected as many images as labels, and at least one, got {len(images)} and {len(labels)}")
    if len(output_shape) != 2 or min(labels) < 0 or max(labels) >= output_shape[-1]:
        raise DataError(f"{name}: output {output_shape} does not fit labels {min(labels)}-{max(labels)}")


def _check_model(model, outputs):
    if not all(np.isfinite(ops.convert_to_numpy(v)).all() for v in model.weights):
        raise DataError(f"{model.name}: the weights hold NaN or infinity")
    ends_with = getattr(getattr(model.layers[-1], "activation", None), "__name__", "linear")
    if ends_with == "sigmoid" or (outputs.ndim == 2 and are_probabilities(outputs)):
        raise ModelError(f"{model.name}: returns probabilities, expected logits (classifier_activation=None)")
