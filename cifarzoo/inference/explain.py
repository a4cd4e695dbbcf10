"""Grad-CAM: which parts of a picture speak for a class."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarzoo.errors import DataError, ModelError
from cifarzoo.keras_internals.model_graph import input_tensors, output_tensors, part_between

SMALLEST_MAP = 4  # pixels; networks that halve images further end in maps of one or two, which show nothing


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    classes: np.ndarray | None = None,
    layer: str | None = None,
    batch_size: int = 100,
) -> np.ndarray:
    """Compute how much every part of a feature map speaks for a class.

    Grad-CAM weighs each channel of the map by the mean of the gradient of the class's logit, adds the channels, and
    keeps what is positive (Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391). It works on TensorFlow, JAX and
    PyTorch.

    Args:
        model: A functional Keras model with one output per class. A final softmax is left out.
        images: [n, height, width, 3], what the model takes.
        classes: Integers [n]; by default the most probable class of each image.
        layer: The layer whose output is the feature map. By default the last one that is at least 4x4 pixels large and
            that everything after it depends on alone.
        batch_size: Images at a time.

    Returns:
        float32 [n, rows, columns], in units of the logit; rows and columns are those of the feature map.

    Raises:
        ModelError: the model has no such layer, or no feature map. DataError: there is not one class per image, or the
            model has no such output.
    """
    body, head = _cut(model, layer)
    if np.ndim(images) != 4:
        raise DataError(f"images: expected [n, height, width, 3], got {list(np.shape(images))}")
    if classes is not None:
        classes = _checked(classes, len(images), head.output_shape[-1])
    gradient = _gradient(head)
    maps = []
    for first in range(0, len(images), batch_size):
        part = ops.convert_to_tensor(np.asarray(images[first : first + batch_size], "float32"))
        activations = body(part, training=False)
        if classes is None:
            chosen = ops.argmax(head(activations, training=False), axis=-1)
        else:
            chosen = ops.convert_to_tensor(np.asarray(classes[first : first + batch_size], "int32"))
        slopes = gradient(activations, chosen)
        activations, slopes = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (activations, slopes))
        weights = slopes.mean(axis=(1, 2), keepdims=True)
        maps.append(np.maximum((weights * activations).sum(axis=-1), 0))
    return np.concatenate(maps)


def _checked(classes: np.ndarray, images: int, outputs: int) -> np.ndarray:
    classes = np.asarray(classes)
    if classes.shape != (images,) or classes.dtype.kind not in "iu":
        raise DataError(f"classes: expected {images} integers, got {classes.dtype} of shape {classes.shape}")
    if (wrong := classes[(classes < 0) | (classes >= outputs)]).size:
        raise DataError(f"classes: the model has {outputs} outputs, got class {wrong[0]}")
    return classes


def _cut(model: keras.Model, layer: str | None) -> tuple[keras.Model, keras.Model]:
    """Cut a model at a feature map into what computes the map, and what computes the logits from it."""
    end = _logits(model)
    if layer is not None:
        try:
            (tensor, *_) = output_tensors(model.get_layer(layer))
        except ValueError:
            raise ModelError(f"{model.name}: has no layer {layer!r}") from None
        if len(getattr(tensor, "shape", ())) != 4:
            raise ModelError(
                f"{model.name}: the output of {layer} is not a feature map [batch, height, width, channels]"
            )
        head = _part(tensor, end)
        if head is None:
            raise ModelError(f"{model.name}: the output depends on more than {layer}; choose a layer that ends a block")
        return keras.Model(model.inputs[0], tensor), head
    for inner in reversed(model.layers):
        (tensor, *_) = output_tensors(inner)
        shape = getattr(tensor, "shape", ())
        if len(shape) == 4 and all(side is None or side >= SMALLEST_MAP for side in shape[1:3]):
            if isinstance(inner, keras.layers.InputLayer):
                break
            if head := _part(tensor, end):
                return keras.Model(model.inputs[0], tensor), head
    raise ModelError(
        f"{model.name}: has no feature map of at least {SMALLEST_MAP}x{SMALLEST_MAP} pixels that its output depends on "
        "alone"
    )


def _part(start: Any, end: Any) -> keras.Model | None:
    try:
        return part_between(start, end)
    except ValueError:
        return None


def _logits(model: keras.Model) -> Any:
    """Return the output before a final activation, whose gradient would vanish where the network is sure."""
    last = model.layers[-1]
    if isinstance(last, keras.layers.Softmax | keras.layers.Activation):
        return input_tensors(last)[0]
    if isinstance(last, keras.layers.Dense) and last.activation is not keras.activations.linear:
        logits = ops.matmul(input_tensors(last)[0], last.kernel)
        return logits if last.bias is None else logits + last.bias
    return model.outputs[0]


def _gradient(head: keras.Model) -> Callable[[Any, Any], Any]:
    """Return the function of feature maps and classes that is the gradient of the classes' logits by the maps."""

    def score(activations: Any, classes: Any) -> Any:
        logits = head(activations, training=False)
        return ops.sum(logits * ops.one_hot(classes, logits.shape[-1], dtype=logits.dtype))

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.grad(score)
    if backend == "torch":
        import torch

        def by_torch(activations: Any, classes: Any) -> Any:
            with torch.enable_grad():
                leaf = activations.detach().requires_grad_()
                return torch.autograd.grad(score(leaf, classes), leaf)[0]

        return by_torch
    import tensorflow as tf

    def by_tensorflow(activations: Any, classes: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(activations)
            total = score(activations, classes)
        return tape.gradient(total, activations)

    return by_tensorflow
