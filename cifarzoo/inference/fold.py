"""Fold BatchNormalization into convolutions and linear layers.

At inference BatchNormalization multiplies every channel by a number and adds another. So does a convolution with a bias
if its kernel and its bias are changed: Jacob et al.: Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, https://arxiv.org/abs/1712.05877, section 3.2.
"""

import keras
import numpy as np
from keras import layers

from cifarzoo.errors import ModelError, summarize
from cifarzoo.inference.linear_layers import Weights, affine, channel_axis
from cifarzoo.keras_internals.block_loops import graph_nodes
from cifarzoo.keras_internals.grouped_convolution import use_grouped_kernel
from cifarzoo.keras_internals.model_building import fast_model_building
from cifarzoo.keras_internals.model_graph import mark_as_called
from cifarzoo.layers import GhostBatchNormalization, ShakeShake

# Layers through which a scale and a shift of each channel pass, at inference.
TRANSPARENT = (
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.Cropping2D,
    layers.GlobalAveragePooling2D,
)
# Through these, too, where no scale is negative.
MAXIMA = (layers.MaxPooling2D, layers.GlobalMaxPooling2D)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Return a network of the same function with fewer layers, for inference only.

        plain = cifarzoo.fold_batch_norm(cifarzoo.load("resnet20_v1_cifar10_200ep_s0"))
        plain.save("resnet20.keras")

    BatchNormalization goes into the convolution or linear layer before it, also through pooling, concatenation and
    sums, where nothing else uses what is in between; or else into the one behind it, if that pads no zeros. So do
    cifarzoo's layers that scale or shift channels at inference; `ShakeShake` becomes Keras' `Average`, and
    `GhostBatchNormalization` that stays becomes `BatchNormalization`.

    What stays: BatchNormalization of a sum that a shortcut uses as well (the first one of pre-activated blocks whose
    shortcut is the identity) unless it precedes a convolution that pads nothing (PyramidNets with bottlenecks), that
    behind max pooling where a gamma is negative, whatever is inside custom layers, and what is next to one.

    Args:
        model: A functional or Sequential model, built. It is not changed.

    Returns:
        A functional model that is not compiled. Its layers keep their names. Logits differ from the model's by rounding
        only: by less than 1e-5 of the largest in float32.

    Raises:
        ModelError: The model is of another kind, or Keras cannot copy one of its layers.
    """
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not hasattr(model, "operations"):
        raise ModelError(f"fold_batch_norm takes functional and built Sequential models, got {type(model).__name__}")
    with fast_model_building():
        return _copy(model, _Folding(model))


def is_known(layer) -> bool:
    """Whether a layer's class is Keras' or cifarzoo's; a subclass may compute anything with its weights and state."""
    return type(layer).__module__.split(".")[0] in ("keras", "cifarzoo")


class _Folding:
    """What to remove from a model's graph, and the weights that take it in.

    Attributes:
        removed: Names of the layers to leave out.
        weights: The new weights of linear layers, by name.
        delayed: Layers that move behind activations, by the activation's name.
    """

    def __init__(self, model):
        nodes = graph_nodes(model)
        self._producers = {id(tensor): node for node in nodes for tensor in node.outputs}
        self._uses: dict[int, list] = {}
        for node in nodes:
            for tensor in node.input_tensors:
                self._uses.setdefault(id(tensor), []).append(node)
        for tensor in model.outputs:
            self._uses.setdefault(id(tensor), []).append(None)
        calls: dict[int, int] = {}
        for node in nodes:
            calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
        self._shared = {operation for operation, count in calls.items() if count > 1}
        self.removed: set[str] = set()
        self.weights: dict[str, Weights] = {}
        self.delayed: dict[str, keras.Layer] = {}
        for fold in (self._fold_back, self._fold_forward):
            for node in nodes:
                layer = node.operation
                if layer.name in self.removed or not self._is_single(layer) or (change := affine(layer)) is None:
                    continue
                scale, shift, axis = change
                fold(node, scale, shift, axis % len(node.outputs[0].shape))
        self._delay_size_checks(nodes)

    def _is_single(self, layer):
        return isinstance(layer, keras.Layer) and is_known(layer) and id(layer) not in self._shared

    def _fold_back(self, node, scale, shift, axis):
        changes = self._before(node.input_tensors[0], scale, shift, axis)
        if changes is not None:
            self.removed.add(node.operation.name)
            for layer, one_scale, one_shift in changes:
                self._weights(layer).map_output(one_scale, one_shift)

    def _fold_forward(self, node, scale, shift, axis):
        uses = self._uses.get(id(node.outputs[0]), [])
        rank = len(node.outputs[0].shape)
        for use in uses:
            layer = use and use.operation
            if not (
                use and self._is_single(layer) and Weights.takes_input(layer) and channel_axis(layer, rank) == axis
            ):
                return
        if uses:
            self.removed.add(node.operation.name)
        for use in uses:
            self._weights(use.operation).map_input(scale, shift)

    def _weights(self, layer):
        return self.weights.setdefault(layer.name, Weights(layer))

    def _before(self, tensor, scale, shift, axis):
        """Return what changes `tensor` to scale * tensor + shift, as (layer, scale, shift), or None if nothing can."""
        node = self._producers.get(id(tensor))
        if node is None or len(self._uses[id(tensor)]) > 1 or not self._is_single(node.operation):
            return None
        layer, inputs = node.operation, node.input_tensors
        if Weights.takes_output(layer):
            return [(layer, scale, shift)] if channel_axis(layer, len(tensor.shape)) == axis else None
        if layer.name in self.removed or isinstance(layer, TRANSPARENT) or _keeps_shape(layer, inputs[0], tensor):
            return self._before(inputs[0], scale, shift, _axis_before(layer, inputs[0], tensor, axis))
        if isinstance(layer, layers.AveragePooling2D) and layer.padding == "valid":
            return self._before(inputs[0], scale, shift, axis)
        if isinstance(layer, MAXIMA) and scale.min() >= 0:
            return self._before(inputs[0], scale, shift, _axis_before(layer, inputs[0], tensor, axis))
        if isinstance(layer, layers.Concatenate) and layer.axis % len(tensor.shape) == axis:
            ends = np.cumsum([part.shape[axis] for part in inputs])[:-1]
            scales = np.split(np.broadcast_to(scale, tensor.shape[axis]), ends)
            shifts = [None] * len(inputs) if shift is None else np.split(shift, ends)
            return self._before_all(inputs, scales, shifts, axis)
        if isinstance(layer, layers.Add) and all(part.shape == tensor.shape for part in inputs):
            others = len(inputs) - 1
            return self._before_all(inputs, [scale] * (others + 1), [shift] + [None] * others, axis)
        return None

    def _before_all(self, tensors, scales, shifts, axis):
        """Return what `_before` returns for several tensors together; None if it returns None for one of them."""
        changes = []
        for tensor, scale, shift in zip(tensors, scales, shifts, strict=True):
            if (of_one := self._before(tensor, scale, shift, axis)) is None:
                return None
            changes += of_one
        return changes

    def _delay_size_checks(self, nodes):
        """Move layers that only check a size behind the ReLU, which backends fuse with the convolution before it."""
        for node in nodes:
            layer, follower = node.operation, node
            if not self._is_single(layer) or not _keeps_shape(layer, *node.input_tensors, *node.outputs):
                continue
            while follower is node or follower.operation.name in self.removed:
                uses = self._uses.get(id(follower.outputs[0]), [])
                if len(uses) != 1 or uses[0] is None:
                    break
                follower = uses[0]
            if isinstance(follower.operation, layers.ReLU) and self._is_single(follower.operation):
                self.removed.add(layer.name)
                self.delayed[follower.operation.name] = layer


def _axis_before(layer, before, after, axis):
    """Return the channels' axis of a layer's input; global pooling leaves batch and channels only."""
    return axis if len(before.shape) == len(after.shape) else channel_axis(layer, len(before.shape))


def _keeps_shape(layer, *tensors):
    """Whether a layer reshapes a tensor to its own shape, as the zoo's check of the image size does."""
    return isinstance(layer, layers.Reshape) and tensors[0].shape == tensors[-1].shape


def _copy(model, folding):
    """Return a copy of a model with its weights, but folded."""
    pairs, left_out = [], set()

    def clone(layer):
        if hasattr(layer, "operations") or isinstance(layer, keras.Sequential):
            return fold_batch_norm(layer)
        if layer.name in folding.removed:
            identity = layers.Identity(name=layer.name)
            left_out.add(id(identity))
            return identity
        if layer.name in folding.weights:
            new = folding.weights[layer.name].new_layer()
            pairs.append((new, folding.weights[layer.name].arrays))
        else:
            new = _same(layer)
            pairs.append((new, getattr(layer, "get_weights", list)))
        if "convolution_op" in vars(layer):
            use_grouped_kernel(new)
        return new

    def call(layer, *inputs, **arguments):
        if id(layer) in left_out:
            return inputs[0]
        outputs = layer(*inputs, **arguments)
        return _same(delayed)(outputs) if (delayed := folding.delayed.get(layer.name)) else outputs

    # Of its own accord Keras names the new inputs after tensors instead of their layers.
    names = {id(layer.output): layer.name for layer in model.layers if isinstance(layer, layers.InputLayer)}
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=names.get(id(x))), model.input
    )
    try:
        copy = keras.models.clone_model(model, inputs, clone_function=clone, call_function=call)
    except (NotImplementedError, TypeError, ValueError) as failure:
        raise ModelError(f"{model.name}: Keras cannot copy the model ({summarize(failure)})") from None
    for new, values in pairs:
        if arrays := values():
            new.set_weights(arrays)
        if isinstance(new, layers.Normalization):
            new.finalize_state()  # it computes with copies of its weights
    mark_as_called(copy)
    return copy


def _same(layer):
    """Return a layer that computes the same at inference as this one, without its weights."""
    config = layer.get_config()
    if isinstance(layer, ShakeShake):
        return layers.Average(name=layer.name, dtype=config["dtype"])
    if isinstance(layer, GhostBatchNormalization):
        return layers.BatchNormalization.from_config({k: v for k, v in config.items() if k != "group_size"})
    return type(layer).from_config(config)
