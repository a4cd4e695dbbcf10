"""`cifarzoo.load`: from weights alone to the model that they describe."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cifarzoo.errors import ModelError, WeightsError
from cifarzoo.models.registry import build_described
from cifarzoo.pretrained.arrays import read_arrays
from cifarzoo.pretrained.description import Description, describe_entry
from cifarzoo.pretrained.loading import describe_file, fill, is_weight_path, open_keras_file
from cifarzoo.pretrained.manifest import find_entry, manifest
from cifarzoo.pretrained.selection import weight_file

if TYPE_CHECKING:
    import keras


def load(name: str | os.PathLike) -> "keras.Model":
    """Build the model that a weight file describes, and load the file.

    Args:
        name: A tag of published weights, the path of a `.weights.h5` file that cifarzoo wrote, or of a `.keras` file.

    Returns:
        The Keras model. Of the zoo's models, images [n, 32, 32, 3] with pixels 0-255 in, float32 logits [n, classes]
        out, unless the file describes another head.

    Raises:
        WeightsError: no such weights, a damaged file, or one that does not say which factory made its model.
    """
    description: Description | None
    if not is_weight_path(name):
        entries = manifest()
        entry = find_entry(str(name), entries)
        if entry is None:
            tags = ", ".join(entry.tag for entry in entries)
            raise WeightsError(f"{name}: neither a .weights.h5 or .keras file nor published weights; there are {tags}")
        path, description = weight_file(entry), describe_entry(entry)
    elif str(name).endswith(".keras"):
        return open_keras_file(Path(name).expanduser())
    else:
        path = Path(name).expanduser()
        description = describe_file(path)
    if description is None:
        raise WeightsError(f"{path}: does not say what it contains; call the model's factory with load_weights={path}")
    if description.factory is None:
        raise WeightsError(f"{path}: contains {description}, which is not in the zoo; build it and call load_file")
    try:
        model = build_described(description)
    except ModelError as failure:
        raise WeightsError(f"{path}: contains {description}, which this version does not build ({failure})") from None
    fill(model, path, read_arrays(path))
    return model
