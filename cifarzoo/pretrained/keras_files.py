"""Saved Keras models, `.keras` files: open them, and compare what they compute with a factory's model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarzoo.errors import WeightsError, summarize
from cifarzoo.pretrained.arrays import model_arrays
from cifarzoo.pretrained.hdf5 import check_saved_model

if TYPE_CHECKING:
    import keras


def open_keras_file(path: Path) -> "keras.Model":
    """Return the model of a `.keras` file, as Keras' safe mode opens it.

    Raises:
        WeightsError: there is no such file, it does not open, or its weights are not finite.
    """
    import keras
    import numpy as np

    import cifarzoo.layers  # noqa: F401  registers the layers that the file may hold

    if not path.is_file():
        raise WeightsError(f"{path}: no such saved model")
    try:
        with open(path, "rb") as file:
            check_saved_model(file)
        model = keras.saving.load_model(path, compile=False)
    except Exception as failure:  # Keras raises whatever the file's content led to
        raise WeightsError(f"{path}: not a saved Keras model that opens here ({summarize(failure)})") from None
    for name, weights in model_arrays(model).layers.items():
        if not all(np.isfinite(values).all() for values in weights):
            raise WeightsError(f"{path}: layer {name} has weights that are not finite")
    return model


def same_constants(first: "keras.Layer", second: "keras.Layer") -> bool:
    """Whether two layers that normalize the input compute the same."""
    import numpy as np

    pairs = zip(_constants(first), _constants(second), strict=True)
    return all(one.shape == other.shape and np.allclose(one, other) for one, other in pairs)


def _constants(layer: "keras.Layer") -> "tuple[Any, Any]":
    """Return scale and offset of the layer that normalizes the input; earlier versions saved a `Normalization`."""
    import keras
    import numpy as np

    if isinstance(layer, keras.layers.Normalization):
        mean, variance = (np.asarray(values, "float64").ravel() for values in (layer.mean, layer.variance))
        return 1 / np.sqrt(variance), -mean / np.sqrt(variance)
    return np.ravel(layer.scale), np.ravel(layer.offset)


def same_outputs(one: "keras.Model", other: "keras.Model", size: tuple[int, int]) -> bool:
    """Whether two models agree on two images of random pixels, whose `size` is that of their input."""
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype("float32")
    first, second = (np.asarray(model(pixels, training=False), "float32") for model in (one, other))
    return np.allclose(first, second, rtol=1e-2, atol=1e-2 * np.abs(first).max())


def image_size_of(model: "keras.Model") -> tuple[int, int]:
    """Return height and width of the images that a model takes; (32, 32) if its input does not say."""
    shape = model.input_shape
    known = isinstance(shape, tuple) and len(shape) == 4 and all(isinstance(side, int) for side in shape[1:3])
    return (shape[1], shape[2]) if known else (32, 32)
