"""Find the network's own arrays in a checkpoint, which may also hold an optimizer's, and prefixes of wrappers."""

import re

import numpy as np

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.errors import WeightsError

# What training code calls the network in its checkpoint, most specific first.
NETWORKS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights")
# Wrappers that add a prefix to all names: DataParallel, normalisation in front of the network, torch.compile.
WRAPPER = re.compile(r"(?:module|model|_orig_mod)[./]")
# Counters and buffers that a network at inference does not need: steps of BatchNormalization (PyTorch, Chainer), and
# the constants of AugMix's input, which the table of entries states.
COUNTERS = {"num_batches_tracked", "N", "mu", "sigma"}
TENSORFLOW_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def state_of(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Return the arrays of the network in a checkpoint, without counters and without prefixes of wrappers.

    Raises:
        WeightsError: it holds no arrays, or several networks without a name that tells which to use.
    """
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in checkpoint.arrays.items():
        # Only PyTorch's checkpoints are nested; elsewhere a slash is part of a layer's name.
        parent, _, own = name.rpartition("/") if checkpoint.format == "torch" else ("", "", name)
        own = own.removesuffix(TENSORFLOW_SUFFIX)
        if re.split(r"[./]", own)[-1] not in COUNTERS:
            groups.setdefault(parent, {})[own] = array
    return _without_wrappers(_network(groups))


def _network(groups: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    # What lies beside a named network is a result such as its accuracy.
    for name in (*NETWORKS, ""):
        if name in groups:
            return groups[name]
    if len(groups) == 1:
        return next(iter(groups.values()))
    names = ", ".join(groups) or "no arrays"
    raise WeightsError(f"the file holds {names}; expected a network's arrays, or a dictionary with state_dict or model")


def _without_wrappers(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    while arrays and all(WRAPPER.match(name) for name in arrays):
        arrays = {name[WRAPPER.match(name).end() :]: array for name, array in arrays.items()}  # type: ignore[union-attr]
    return arrays
