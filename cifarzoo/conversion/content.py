"""Hash what a weight file holds, apart from how HDF5 happens to write it."""

import hashlib

import numpy as np

from cifarzoo.pretrained.arrays import LayerArrays


def content_sha256(arrays: LayerArrays) -> str:
    """Return the SHA-256 of the names, shapes and float32 values of all layers, in the order of their names.

    A weight file that holds its own hash shows damage by it, not that somebody replaced it.
    """
    digest = hashlib.sha256()
    for name, values in sorted(arrays.layers.items()):
        digest.update(f"{name}\n".encode())
        for value in values:
            digest.update(f"{value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value, "<f4").data)
    return digest.hexdigest()
