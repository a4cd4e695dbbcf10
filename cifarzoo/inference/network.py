"""Compute a network's outputs for many images, as fast as the backend can.

Folding pays off on TensorFlow on processors, where oneDNN then computes a convolution, its bias, a residual sum and
ReLU in one kernel, if the compiled function knows the batch size. JAX on processors gains nothing. docs/performance.md
has the times.
"""

import keras
import numpy as np

from cifarzoo.errors import ModelError
from cifarzoo.hardware import accelerator_name
from cifarzoo.inference.fold import fold_batch_norm, is_known
from cifarzoo.keras_internals.fast_paths import fast_paths
from cifarzoo.keras_internals.model_graph import all_layers

# For fewer images it takes longer to fold and compile a network than that saves.
MIN_IMAGES = 4_000


class CompiledNetwork:
    """A folded copy of a model's present state, compiled for batches of one size.

    Args:
        model: A model for which `pays_off`.
    """

    def __init__(self, model: keras.Model):
        import tensorflow as tf

        try:
            self.model = fold_batch_norm(model)
        except ModelError:  # its layers cannot be copied; compiling helps by itself
            self.model = model
        self._compiled = tf.function(self._outputs, autograph=False)

    def _outputs(self, images):
        import tensorflow as tf

        with fast_paths(self.model, training=False):  # runs once per batch size: when TensorFlow traces the function
            return self.model(tf.cast(images, self.model.inputs[0].dtype), training=False)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the outputs for a batch, [n, classes]; each size is compiled once.

        Args:
            images: [n, height, width, 3], of any dtype.
        """
        import tensorflow as tf

        return self._compiled(tf.constant(images)).numpy()


def pays_off(model: keras.Model, images: int) -> bool:
    """Whether a `CompiledNetwork` takes less time for so many images than the model itself, compilation included."""
    return (
        images >= MIN_IMAGES
        and keras.backend.backend() == "tensorflow"
        and accelerator_name() is None
        and hasattr(model, "operations")
        and len(model.inputs) == len(model.outputs) == 1
        and model.distribute_strategy.num_replicas_in_sync == 1
        and all(is_known(layer) for layer in all_layers(model))
    )
