"""`cifarzoo.load`: from weights alone to the model that they describe."""

import os
from typing import TYPE_CHECKING

from cifarzoo.errors import ModelError, WeightsError
from cifarzoo.models.registry import Entry, build_described, get
from cifarzoo.pretrained.arrays import read_arrays
from cifarzoo.pretrained.description import attach_training_data
from cifarzoo.pretrained.keras_files import open_keras_file
from cifarzoo.pretrained.loading import fill
from cifarzoo.pretrained.manifest import find_entry, manifest
from cifarzoo.pretrained.selection import is_weight_path, source_named

if TYPE_CHECKING:
    import keras


def load(name: str | os.PathLike) -> "keras.Model":
    """Build the model that a weight file describes, and load the file.

    Args:
        name: A tag of published weights, the name of another project's checkpoint from `cifarzoo import --list`, such
            as "osmr/wrn28_10_cifar10", the path of a `.weights.h5` file that cifarzoo wrote, or of a `.keras` file.
            A checkpoint is downloaded, checked and converted when it is loaded for the first time. The name of a model
            stands for its default published weights, as in `cifarzoo evaluate`: `cifar_resnet20(load_weights=True)`.

    Returns:
        The Keras model. Of the zoo's models, images [n, 32, 32, 3] with pixels 0-255 in, float32 logits [n, classes]
        out, unless the file describes another head.

    Raises:
        WeightsError: no such weights, a damaged file, or one that does not say which factory made its model.
    """
    if (entry := _model_named(str(name))) is not None:
        return entry.factory(load_weights=True)
    source = source_named(name, build_described)
    path, description = source.path, source.description
    if path.name.endswith(".keras"):
        return open_keras_file(path)
    if description is None:
        raise WeightsError(f"{path}: does not say what it contains; call the model's factory with load_weights={path}")
    if description.factory is None:
        raise WeightsError(
            f"{path}: contains {description}, which is not in the zoo; build that model and call its method "
            f"load_weights({str(path)!r})"
        )
    try:
        model = build_described(description)
    except ModelError as failure:
        raise WeightsError(f"{path}: contains {description}, which this version does not build ({failure})") from None
    fill(model, path, read_arrays(path))
    attach_training_data(model, description)
    return model


def _model_named(name: str) -> Entry | None:
    """Return the model of a name that is that of no weights; None if there is none."""
    if is_weight_path(name) or "/" in name or find_entry(name, manifest()):
        return None
    try:
        return get(name)
    except ModelError:
        return None
