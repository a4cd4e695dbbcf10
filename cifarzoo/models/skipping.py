"""The decisions of a SkipNet's gates, the computation they save, and inference that does not compute skipped blocks.

model = create_model("cifar_skipnet38", load_weights="skipnet38.weights.h5")
decisions = gate_decisions(model, images)        # bool [images, gates]
computation_percent(decisions)                   # 72.1
logits = SkippingInference(model).predict(images)
"""

import keras
import numpy as np
from keras import ops

from cifarzoo.errors import ModelError
from cifarzoo.layers import SampledGate, StraightThroughGate
from cifarzoo.models.macs import macs

GATES = StraightThroughGate, SampledGate


def has_gates(model) -> bool:
    """Return whether a model has gates that decide which of its blocks run."""
    return any(isinstance(layer, GATES) for layer in model.layers)


def gated_blocks(model) -> list[str]:
    """Return the names of a model's gated blocks, in the order in which they run.

    Raises:
        ModelError: The model has no gates.
    """
    if not has_gates(model):
        raise ModelError(f"{model.name}: has no gates; models with gates are cifar_skipnet* and cifar_pyramid_skipnet*")
    return [layer.name.removesuffix("_gate") for layer in model.layers if isinstance(layer, GATES)]


def gate_model(model) -> keras.Model:
    """Return a model with the same input that outputs the gates, [batch, gates]: 1 where a block runs, else 0."""
    gates = [model.get_layer(f"{block}_gate").output for block in gated_blocks(model)]
    return keras.Model(model.input, ops.concatenate(gates, axis=-1), name=f"{model.name}_gates")


def gate_decisions(model, images, batch_size: int = 256) -> np.ndarray:
    """Compute which blocks run for which image, bool [images, gates]."""
    return gate_model(model).predict(images, batch_size=batch_size, verbose=0) > 0.5


def computation_percent(decisions: np.ndarray) -> float:
    """Return the mean percentage of blocks that run; like SkipNet's authors, count all ungated blocks as one."""
    gates = decisions.shape[1]
    return float(100 * np.mean((decisions.sum(axis=1) + 1) / (gates + 1)))


def executed_macs(model, decisions: np.ndarray) -> np.ndarray:
    """Return the multiply-accumulates of convolutions and linear layers for each image, int64 [images].

    Gates are included, except for the LSTM cell of recurrent gates.
    """
    blocks = np.array([macs(model.get_layer(block)) for block in gated_blocks(model)], np.int64)
    return macs(model) - (~decisions) @ blocks


def computation_metrics(model, images, batch_size: int = 256) -> dict[str, float | int]:
    """Measure the computation that gates save on images.

    Returns:
        `computation_percent`, see the function of that name; `macs_mean`, multiply-accumulates per image;
        `macs_saved_percent`, the percentage of the whole network's multiply-accumulates that is skipped.
    """
    decisions = gate_decisions(model, images, batch_size)
    executed = float(executed_macs(model, decisions).mean())
    return {
        "computation_percent": computation_percent(decisions),
        "macs_mean": round(executed),
        "macs_saved_percent": 100 * (1 - executed / macs(model)),
    }


class SkippingInference:
    """Inference that computes each block of a gated model only for the images that need it.

    The images of a batch that run a block are gathered, run together and scattered back among those that skip it. The
    logits equal the model's up to rounding.

    Args:
        model: A model of `cifarzoo.models.skipnet`; each call uses its current weights.

    Raises:
        ModelError: The model has no gates.
    """

    def __init__(self, model):
        self.model = model
        self.blocks = gated_blocks(model)
        names = {layer.name for layer in model.layers}
        self._shortcuts = {block for block in self.blocks if f"{block}_shortcut" in names}
        self._recurrent = "gate_lstm" in names
        self._trunk = keras.Model(model.input, model.get_layer("before_gates").output)
        self._tail = keras.Model(model.get_layer("features").output, _output_of_features(model, names))
        self._compiled = self._logits
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            signature = [tf.TensorSpec((None, *model.input_shape[1:]), model.input.dtype)]
            self._compiled = tf.function(self._logits, input_signature=signature)

    def predict(self, images, batch_size: int = 256) -> np.ndarray:
        """Return the logits of images, [images, classes]."""
        images = np.asarray(images)
        batches = [
            self._compiled(ops.convert_to_tensor(images[i : i + batch_size], self.model.input.dtype))
            for i in range(0, len(images), batch_size)
        ]
        return np.concatenate([ops.convert_to_numpy(logits) for logits in batches])

    def _logits(self, images):
        x = self._trunk(images, training=False)
        state = None
        for block in self.blocks:
            probability, state = self._gate(block, x, state)
            skipped = self.model.get_layer(f"{block}_shortcut")(x) if block in self._shortcuts else x
            x = self._run(self.model.get_layer(block), x, skipped, ops.nonzero(probability[:, 0] > 0.5)[0])
        return self._tail(x, training=False)

    @staticmethod
    def _run(block, x, skipped, rows):
        """Return the features after a block: its output for the images `rows`, the shortcut for the others."""

        def run():
            output = block([ops.take(x, rows, axis=0), ops.take(skipped, rows, axis=0)], training=False)
            return ops.scatter_update(skipped, ops.expand_dims(rows, 1), output)

        # Never convolve an empty batch: TensorFlow's oneDNN kernels return a wrong shape.
        if keras.backend.backend() == "tensorflow":
            return ops.cond(ops.shape(rows)[0] > 0, run, lambda: skipped)
        return run() if len(rows) else skipped

    def _gate(self, block, x, state):
        """Return the probability that a block runs, and the state for the next gate."""
        if not self._recurrent:
            return self.model.get_layer(f"{block}_gate_network")(x, training=False), None
        embedding = self.model.get_layer(f"{block}_gate_embedding")(x)
        if state is None:
            state = [ops.zeros_like(embedding)] * 2
        output, state = self.model.get_layer("gate_lstm")(embedding, state)
        return self.model.get_layer("gate_probability")(output), state


def _output_of_features(model, names):
    """Return the model's output on a path without gates, which bypasses the layer that only trains them."""
    if "policy_gradient" not in names:
        return model.output
    logits = model.get_layer("logits").output
    return model.get_layer("activation")(logits) if "activation" in names else logits
