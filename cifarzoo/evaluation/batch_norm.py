"""Compute the statistics of BatchNormalization again, for weights that have never been trained with: averages."""

import keras
import numpy as np
from keras import ops

from cifarzoo.augment.pipeline import Pipeline
from cifarzoo.augment.random import Draws
from cifarzoo.data.dataset import Split
from cifarzoo.evaluation.sharpness.derivatives import backend_derivatives
from cifarzoo.hardware import full_float32
from cifarzoo.keras_internals.batch_statistics import batch_statistics
from cifarzoo.keras_internals.model_graph import all_layers


def batch_norm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the layers whose moving statistics training updates, including subclasses such as the ghost version."""
    layers = {id(layer): layer for layer in all_layers(model)}.values()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]


@full_float32()
def recompute_statistics(
    model: keras.Model, split: Split, batch_size: int = 500, augment: Pipeline | None = None
) -> int:
    """Replace all moving means and variances by means over the batches of one pass.

    As PyTorch's `torch.optim.swa_utils.update_bn`: each layer normalizes every batch by the batch's own statistics, and
    its moving statistics become the mean of the batches' means and variances. Variances are those of Keras, divided by
    the number of values and not by one less. An incomplete last batch counts by its number of images. All other layers
    run as at inference: no dropout, no random branches. The sums are float64.

    Args:
        model: The model, which changes.
        split: The images.
        batch_size: Images per batch.
        augment: Augments each batch as in the first epoch of training with seed 0; by default images are not augmented.

    Returns:
        The number of layers. 0 means that the model has no BatchNormalization; then nothing is computed.
    """
    layers = batch_norm_layers(model)
    if not layers:
        return 0
    variables = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
    momenta = [layer.momentum for layer in layers]

    def statistics(images):
        with keras.StatelessScope() as scope:
            model(ops.cast(images, model.inputs[0].dtype), training=False)
        return [scope.get_current_value(variable) for variable in variables]

    sums = [np.zeros(variable.shape) for variable in variables]
    try:
        for layer in layers:
            layer.momentum = 0.0  # the moving statistics after a batch are then those of the batch
        with batch_statistics():
            compiled = backend_derivatives().compile(statistics)
            for step, first in enumerate(range(0, len(split), batch_size)):
                indices = np.arange(first, min(first + batch_size, len(split)), dtype=np.int32)
                images = ops.convert_to_tensor(split.images[indices])
                if augment:
                    labels = ops.convert_to_tensor(split.labels[indices], "int32")
                    slots = np.arange(len(indices), dtype=np.int32)
                    images, _ = augment(images, labels, Draws(0, step, slots, 0, indices))
                for total, value in zip(sums, compiled(images), strict=True):
                    total += len(indices) * ops.convert_to_numpy(value).astype(np.float64)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for variable, total in zip(variables, sums, strict=True):
        variable.assign(total / len(split))
    return len(layers)
