"""The layers that take a scale and a shift per channel into their weights, and those that are nothing else."""

import keras
import numpy as np
from keras import layers

from cifarzoo.layers import ChannelBias, ShakeDrop

# Layers with a kernel and perhaps a bias. DepthwiseConv2D has one filter per input channel instead of a sum over them.
CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
LINEAR = (*CONVOLUTIONS, layers.DepthwiseConv2D, layers.Dense)


def channel_axis(layer, rank: int) -> int:
    """Return the index of the channels in the output of a layer, a tensor of this rank with the batch."""
    if getattr(layer, "data_format", None) == "channels_first" and not isinstance(layer, layers.Dense):
        return 1
    return rank - 1


def affine(layer) -> tuple[np.ndarray, np.ndarray | None, int] | None:
    """Return what a layer that scales and shifts channels does at inference, None for other layers.

    Returns:
        Scale, float64 [channels] or [1]; shift, float64 [channels] or None; the channels' axis.
    """
    if isinstance(layer, layers.BatchNormalization):
        axis = layer.axis[0] if isinstance(layer.axis, list | tuple) else layer.axis
        mean, variance = (_array(v) for v in (layer.moving_mean, layer.moving_variance))
        scale = (_array(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
        return scale, (_array(layer.beta) if layer.center else 0.0) - mean * scale, axis
    if isinstance(layer, ChannelBias):
        bias = _array(layer.bias)
        return np.ones_like(bias), bias, -1
    if isinstance(layer, ShakeDrop):
        return np.array([layer.keep], np.float64), None, -1
    return None


def _array(variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable.value), np.float64)


class Weights:
    """Kernel and bias of a linear layer in float64, changed step by step.

    Args:
        layer: A layer of `LINEAR`, built; it stays as it is.
    """

    def __init__(self, layer):
        self.layer = layer
        self.kernel = _array(layer.kernel)
        self.bias = _array(layer.bias) if layer.use_bias else None

    @staticmethod
    def takes_output(layer) -> bool:
        """Whether a scale and a shift of a layer's output can go into its weights."""
        return (
            isinstance(layer, LINEAR)
            and layer.activation is keras.activations.linear
            and not getattr(layer, "lora_enabled", False)
            and getattr(layer, "quantization_mode", None) is None
        )

    @staticmethod
    def takes_input(layer) -> bool:
        """Whether a scale and a shift of a layer's input can go into its weights: it pads nothing."""
        if isinstance(layer, layers.Dense):
            plain = True
        else:
            plain = isinstance(layer, CONVOLUTIONS) and layer.groups == 1
            plain = plain and (layer.padding == "valid" or set(layer.kernel_size) == {1})
        return plain and not getattr(layer, "lora_enabled", False) and getattr(layer, "quantization_mode", None) is None

    def map_output(self, scale: np.ndarray, shift: np.ndarray | None) -> None:
        """Let the layer return scale * y + shift, [channels] or [1] each, in place of y."""
        filters = self.kernel.shape[-1]
        if isinstance(self.layer, layers.DepthwiseConv2D):
            channels, multiplier = self.kernel.shape[-2:]
            filters = channels * multiplier
            self.kernel = self.kernel * np.broadcast_to(scale, filters).reshape(channels, multiplier)
        else:
            self.kernel = self.kernel * scale
        if self.bias is not None:
            self.bias = self.bias * scale
        self._add(shift, filters)

    def map_input(self, scale: np.ndarray, shift: np.ndarray | None) -> None:
        """Let the layer compute from x what it computed from scale * x + shift."""
        channels, filters = self.kernel.shape[-2:]
        if shift is not None:
            summed = self.kernel.reshape(-1, channels, filters).sum(0)
            self._add(np.broadcast_to(shift, channels) @ summed, filters)
        self.kernel = self.kernel * np.broadcast_to(scale, channels)[:, None]

    def _add(self, shift, filters):
        if shift is not None:
            self.bias = np.broadcast_to(shift, filters) + (0 if self.bias is None else self.bias)

    def new_layer(self):
        """Return a layer for these weights, without values yet."""
        config = self.layer.get_config()
        kernel = "depthwise" if isinstance(self.layer, layers.DepthwiseConv2D) else "kernel"
        # Zeros cost nothing, and the zoo's own initializer would make a plain model depend on cifarzoo.
        changes = {"use_bias": self.bias is not None, f"{kernel}_initializer": "zeros", f"{kernel}_regularizer": None}
        return type(self.layer).from_config(config | changes)

    def arrays(self) -> list[np.ndarray]:
        """Return the values of the new layer's weights."""
        return [self.kernel] if self.bias is None else [self.kernel, self.bias]
