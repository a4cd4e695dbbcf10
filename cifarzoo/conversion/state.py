"""Find the network's own arrays in a checkpoint, which may also hold an optimizer's, and prefixes of wrappers."""

import re
from collections import Counter

import numpy as np

from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.errors import WeightsError, printable

# What training code calls the network in its checkpoint, most specific first.
NETWORKS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights")
# Wrappers that add a prefix to all names: DataParallel, normalization in front of the network, torch.compile.
WRAPPER = re.compile(r"(?:module|model|_orig_mod)[./]")
# Counters of BatchNormalization's steps: PyTorch's, in any format, and Chainer's.
COUNTERS = {"num_batches_tracked"}
CHAINER_COUNTER = "N"
# What normalizes the input in front of the network, as AugMix' networks have it.
INPUT = re.compile(rf"(?:{WRAPPER.pattern})*(mu|sigma)")
TENSORFLOW_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# tf2cv stores a grouped convolution as one kernel per group.
GROUP = re.compile(r"(.+)/convgroup(\d+)/(kernel)")


def state_of(checkpoint: Checkpoint, part: str | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of the network in a checkpoint, without counters and without prefixes of wrappers.

    What normalizes its input is left out, too: see `input_statistics`.

    Args:
        checkpoint: The checkpoint.
        part: Name of the dictionary that the network is in: "ema". Default: the first of NETWORKS that there is.

    Raises:
        WeightsError: it holds no arrays, several networks without a name that tells which to use, or no such part.
    """
    network = _network(_groups(checkpoint), part)
    return _without_wrappers({name: array for name, array in network.items() if not _role(name, array)})


def left_aside(checkpoint: Checkpoint, part: str | None = None) -> dict[str, int]:
    """Return how many arrays the parts of a checkpoint have that `state_of` does not use, by name: {"ema": 107}.

    What is in no dictionary is "others".
    """
    groups, counts = _groups(checkpoint), Counter[str]()
    used = _network(groups, part)
    for name, arrays in groups.items():
        if arrays is not used:
            # An optimizer's state is nested further.
            counts[name.split("/")[0] or "others"] += len(arrays)
    return dict(counts)


def input_statistics(checkpoint: Checkpoint, part: str | None = None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the mean and the deviation, [3] each, that the network in a checkpoint holds, None if it holds none.

    Raises:
        WeightsError: see `state_of`.
    """
    network = _network(_groups(checkpoint), part)
    by_role = {_role(name, array): array.ravel() for name, array in network.items()}
    return (by_role["mu"], by_role["sigma"]) if {"mu", "sigma"} <= set(by_role) else None


def _role(name: str, array: np.ndarray) -> str | None:
    """Return "mu" or "sigma" for a constant of the input, None for any other array."""
    matched = INPUT.fullmatch(name) if array.size == 3 else None
    return matched and matched[1]


def _groups(checkpoint: Checkpoint) -> dict[str, dict[str, np.ndarray]]:
    """Return arrays by the dictionary that they are in, without counters."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    counters = COUNTERS | ({CHAINER_COUNTER} if checkpoint.format == "npz" else set())
    arrays = _short_keras_names(checkpoint.arrays) if checkpoint.format == "keras" else checkpoint.arrays
    for name, array in arrays.items():
        # Only PyTorch's checkpoints are nested; elsewhere a slash is part of a layer's name.
        parent, _, own = name.rpartition("/") if checkpoint.format == "torch" else ("", "", name)
        own = own.removesuffix(TENSORFLOW_SUFFIX)
        if re.split(r"[./]", own)[-1] not in counters:
            groups.setdefault(parent, {})[own] = array
    return groups


def _short_keras_names(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a Keras 2 file without the repetitions in their names, and convolutions in one piece.

    "features/cifar_res_net/features/features/init_block/conv/conv/kernel:0" becomes "features/init_block/conv/kernel":
    it begins with the name of the group in the file, then comes the variable's.
    """
    short: dict[str, np.ndarray] = {}
    pieces: dict[str, dict[int, np.ndarray]] = {}
    for path, array in arrays.items():
        top, *rest = path.removesuffix(":0").split("/")
        rest = rest[rest.index(top) :] if top in rest else rest
        name = "/".join(part for part, before in zip(rest, ["", *rest], strict=False) if part != before)
        piece = GROUP.fullmatch(name)
        if piece and array.ndim == 4:
            pieces.setdefault(f"{piece[1]}/{piece[3]}", {})[int(piece[2])] = array
        else:
            # What has no name of its own keeps its path, and is left over later.
            short[path if name in short or not name else name] = array
    for name, by_number in pieces.items():
        kernels = [by_number[number] for number in sorted(by_number)]
        if len({kernel.shape for kernel in kernels}) == 1 and name not in short:
            short[name] = np.concatenate(kernels, axis=-1)
        else:
            short |= {f"{name}/convgroup{number}": kernel for number, kernel in by_number.items()}
    return short


def _network(groups: dict[str, dict[str, np.ndarray]], part: str | None = None) -> dict[str, np.ndarray]:
    if part is not None:
        if part not in groups:
            raise WeightsError(f"the file has no part {printable(part)}; it holds {', '.join(groups) or 'no arrays'}")
        return groups[part]
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
