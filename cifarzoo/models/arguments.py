"""The arguments of factories: those that all of them share, their documentation, and checks of a call."""

import difflib
import inspect
import os
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from cifarzoo.errors import ModelError

# Height and width of CIFAR's images, and the largest that a factory takes.
IMAGE_SIZE = 32
MAX_IMAGE_SIZE = 1024

COMMON_ARGUMENTS: dict[str, Any] = {  # with their defaults
    "classes": 10,
    "load_weights": False,
    "include_top": True,
    "include_preprocessing": True,
    "classifier_activation": None,
    "name": None,
    "statistics": None,
    "image_size": IMAGE_SIZE,
}
COMMON_TYPES = {
    "classes": int,
    "load_weights": bool | str | os.PathLike | None,
    "include_top": bool,
    "include_preprocessing": bool,
    "classifier_activation": str | Callable | None,
    "name": str | None,
    "statistics": str | Sequence | Mapping | None,
    "image_size": int,
}

COMMON_DOC = """\
    classes: Number of outputs; by default that of the weights, or 10.
    load_weights: False or None for fresh weights; True for the default published file of this architecture; a tag
        of published weights; or the path of a `.weights.h5` or `.keras` file. With a tag, or a file that describes
        its model, arguments that you leave out come from the file. True with 10 or 100 `classes` needs weights for
        that many classes and raises WeightsError if there are none; with any other number it loads the backbone of
        either. If the number of classes of a tag or path differs, only the backbone is loaded, and the classifier,
        if any, is fresh. A `.keras` file whose input normalization differs is refused.
    include_top: If False, the model ends with the last feature map, before pooling.
    include_preprocessing: If True, the model takes raw pixels, uint8 or float in 0-255, and normalizes them inside.
        If False, it takes normalized pixels: (pixel - mean) / deviation of the training images.
    classifier_activation: None for logits, otherwise an activation such as "softmax".
    name: Name of the Keras model; by default the factory's.
    statistics: Mean and standard deviation of the pixels that the input is normalized with. By default those of the
        loaded weights, else CIFAR-100's for 100 classes and CIFAR-10's for any other number. A name: "cifar10" and
        "cifar100" are the data sets' own; other projects use "kuangliu", "imagenet", "half", "unit",
        "chenyaofo_cifar100", "weiaicunzai", "hendrycks" and "lasagne" (a mean per pixel). Or a pair (mean, std) of
        three numbers each, R, G, B: on 0-1 if none is above 1, else on 0-255. Or {{"mean": [...], "std": [...]}} on
        0-255, as files record them.
    image_size: Height and width of the images. Layers and weights are the same for every size, as the network ends
        in global pooling. With a tag or path, the default is that of the weights.

Returns:
    A functional `keras.Model` from [batch, height, width, 3] to [batch, classes] float32, or to a feature map.

Raises:
    ModelError: an argument does not fit.
    WeightsError: the weights do not exist, are damaged, or belong to another network.

Reference: {paper} ({year}).
"""

_LOAD_WEIGHTS = "is called load_weights here: True, a tag or a path (init_weights in an experiment)"
_SIZE = "does not exist here: images are 32x32x3; image_size says another height and width"
_IMAGE_SIZE = "is called image_size here: height and width in one number"
_DECAY = "does not exist here: weight decay belongs to training (train_parameters.weight_decay in an experiment)"
_DEPTH = "does not exist here: the name says the size, as in cifar_resnet20 (`cifarzoo list`)"

# Argument names of other libraries and earlier versions, with what to say about them.
OTHER_NAMES = {
    **dict.fromkeys(("weights", "pretrained", "checkpoint_path"), _LOAD_WEIGHTS),
    **dict.fromkeys(("num_classes", "nb_classes", "n_classes", "num_labels"), "is called classes here"),
    **dict.fromkeys(("input_shape", "input_tensor", "in_chans", "in_channels"), _SIZE),
    **dict.fromkeys(("img_size", "input_size", "resolution"), _IMAGE_SIZE),
    **dict.fromkeys(("l2_reg", "weight_decay", "kernel_regularizer", "l2"), _DECAY),
    **dict.fromkeys(("N", "n", "num_blocks", "num_layers", "depth", "cardinality", "width", "K", "k"), _DEPTH),
    **dict.fromkeys(("activation", "top_activation"), "of the classifier is called classifier_activation here"),
    **dict.fromkeys(("include_rescaling", "preprocessing"), "is called include_preprocessing here"),
    "pooling": "does not exist here: with include_top=False the model ends before pooling",
}
# Their equivalents, for factories that have them, with a formula for the value in `cifar_wide_resnet`.
RENAMED = {
    "N": ("depth", "6 * N + 4"),
    "n": ("depth", "6 * n + 4"),
    "num_layers": ("depth", None),
    "K": ("width", None),
    "k": ("width", None),
    "widen_factor": ("width", None),
    "dropout_rate": ("dropout", None),
    "drop_rate": ("dropout", None),
    "block": ("block_type", None),
    "shortcut": ("shortcut_type", None),
    **dict.fromkeys(("groups", "num_groups", "norm_groups"), ("normalization_groups", None)),
    **dict.fromkeys(("norm", "norm_layer", "norm_type"), ("normalization", None)),
}


def full_signature(build: Callable) -> inspect.Signature:
    """Return the signature of the factory that `register` makes of a function: own arguments, then common ones.

    Own arguments that are keyword-only come last, so that a new one leaves positions as they are.
    """
    own = [p for p in inspect.signature(build).parameters.values() if p.kind is not p.VAR_KEYWORD]
    by_keyword = [p for p in own if p.kind is p.KEYWORD_ONLY]
    common = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=COMMON_TYPES[name])
        for name, default in COMMON_ARGUMENTS.items()
    ]
    own = [p for p in own if p.kind is not p.KEYWORD_ONLY]
    return inspect.Signature([*own, *common, *by_keyword], return_annotation=inspect.signature(build).return_annotation)


def documentation(build: Callable, signature: inspect.Signature, arguments: Mapping[str, str], reference: dict) -> str:
    """Return a factory's docstring: what `build` says, its own arguments, then the common ones.

    Args:
        build: The decorated function.
        signature: The factory's signature.
        arguments: Values and meaning of own arguments, by name.
        reference: Values of `COMMON_DOC`: paper and year.
    """
    own = [
        textwrap.fill(f"{name}: {arguments[name]}\n", 116, initial_indent=" " * 4, subsequent_indent=" " * 8) + "\n"
        for name in signature.parameters
        if name in arguments
    ]
    return f"{inspect.cleandoc(str(build.__doc__))}\n\nArgs:\n{''.join(own)}{COMMON_DOC.format(**reference)}"


def bind(
    name: str, signature: inspect.Signature, args: tuple, kwargs: dict[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Check a factory's call.

    NumPy scalars become Python numbers; `load_weights=None` becomes False.

    Args:
        name: The factory's name.
        signature: The factory's signature.
        args: The call's positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        All arguments by name, with defaults filled in, and the names of the arguments in the call.

    Raises:
        ModelError: the factory does not take an argument, or `classes` or `image_size` is out of range.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        known = signature.parameters
        hints = [hint for key in kwargs if key not in known and (hint := _hint(name, key, known))]
        raise ModelError(f"{name}: {'; '.join([str(error), 'it takes ' + ', '.join(known), *hints])}") from None
    explicit = set(bound.arguments)
    bound.apply_defaults()
    arguments = {key: _plain(value) for key, value in bound.arguments.items()}
    classes, size = arguments["classes"], arguments["image_size"]
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ModelError(f"{name}: classes is a positive whole number, got {classes!r}")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_IMAGE_SIZE:
        raise ModelError(f"{name}: image_size is a whole number from 1 to {MAX_IMAGE_SIZE}, got {size!r}")
    if arguments["load_weights"] is None:  # like `weights=None` in keras.applications
        arguments["load_weights"] = False
    return arguments, explicit


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as a Python number."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value


def _hint(name: str, key: str, known: Collection[str]) -> str | None:
    """Suggest what to use instead of an argument that a factory does not take; None without a suggestion."""
    called, value = RENAMED.get(key, (None, None))
    if called in known:
        is_known = value and name == "cifar_wide_resnet"  # other families count their layers differently
        return f"{key} is called {called} here" + (f": {called} = {value}" if is_known else "")
    if key in OTHER_NAMES:
        return f"{key} {OTHER_NAMES[key]}"
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else None


def activation_name(activation: Any) -> str | None:
    """Return the name of an activation for a weight file's description: Keras' name, or that of a user's function.

    Raises:
        ModelError: Keras has no activation of this name.
    """
    if activation is None:
        return None
    import keras

    if isinstance(activation, str):
        try:
            keras.activations.get(activation)
        except ValueError:
            raise ModelError(f"classifier_activation: Keras has no activation {activation!r}") from None
        return activation
    name = getattr(activation, "__name__", type(activation).__name__)
    if getattr(keras.activations, name, None) is activation:
        return name
    return f"{activation.__module__}.{name}"
