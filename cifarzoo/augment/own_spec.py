"""The user's own augmentations as entries of a list: a function of a module, or a layer of Keras. Without Keras."""

from typing import Any

from cifarzoo.augment.base import Entry, Spec
from cifarzoo.strict_model import Argument, FunctionName, ModuleName
from cifarzoo.strict_yaml import excerpt

# Arguments of layers that are not the user's to set, and why.
SET_BY_THE_RUNNER = {
    "seed": "the run's seed decides what a layer draws",
    "dtype": "layers compute in float32",
    "data_format": "images are [batch, height, width, 3]",
    "name": "an augmentation has no name",
    "trainable": "an augmentation has no weights",
}
LAYERS_THAT_MIX = {"MixUp": "mixup", "CutMix": "cutmix"}


class OwnFunction(Spec):
    """A function of the user's module; see `cifarzoo.augment.own.OwnFunctionKernel`.

    Attributes:
        module: The module.
        function: The function's name, `name` in the document.
        arguments: Its keyword arguments, all other keys of the entry.
    """

    name = "own function"
    kernel = "own.OwnFunctionKernel"
    fits_xla = False

    module: ModuleName
    function: FunctionName
    arguments: dict[str, Argument] = {}

    def as_entry(self) -> Any:
        """Return the entry as plain data, as it is written in a document."""
        return {"module": self.module, "name": self.function, **self.arguments}


class KerasLayer(Spec):
    """A layer of Keras; see `cifarzoo.augment.own.KerasLayerKernel`.

    Attributes:
        layer: The layer's class, `keras` in the document.
        arguments: Its arguments, all other keys of the entry.
    """

    name = "Keras layer"
    kernel = "own.KerasLayerKernel"
    fits_xla = False

    layer: FunctionName
    arguments: dict[str, Argument] = {}

    def as_entry(self) -> Any:
        """Return the entry as plain data, as it is written in a document."""
        return {"keras": self.layer, **self.arguments}


OWN_SPECS: dict[str, type[Spec]] = {spec.name: spec for spec in (OwnFunction, KerasLayer)}


def own_entry(value: dict[Any, Any]) -> Entry | None:
    """Split an entry such as {module: my_augmentations, name: shift} or {keras: RandomRotation, factor: 0.1}.

    Returns:
        The entry for a spec of `OWN_SPECS`; None if it is neither.

    Raises:
        ValueError: a name is missing or no text, or an argument is not the user's to set.
    """
    keys = [key for key in ("module", "keras") if key in value]
    if not keys:
        return None
    if keys == ["module"]:
        if not isinstance(value["module"], str) or not isinstance(value.get("name"), str):
            raise ValueError(f"expected {{module: MODULE, name: FUNCTION, ... its arguments}}, got {excerpt(value)}")
        arguments = {key: argument for key, argument in value.items() if key not in ("module", "name")}
        return Entry(
            value,
            OwnFunction.name,
            {"module": value["module"], "function": value["name"], "arguments": arguments},
        )
    layer = value["keras"]
    if len(keys) > 1 or not isinstance(layer, str):
        raise ValueError(f"expected {{keras: LAYER, ... its arguments}}, got {excerpt(value)}")
    if layer in LAYERS_THAT_MIX:
        raise ValueError(f"keras: {layer} mixes labels too; write {LAYERS_THAT_MIX[layer]}")
    arguments = {key: argument for key, argument in value.items() if key != "keras"}
    for key in arguments:
        if reason := SET_BY_THE_RUNNER.get(key):
            raise ValueError(f"keras: {layer}: {key}: leave it out: {reason}")
    return Entry(value, KerasLayer.name, {"layer": layer, "arguments": arguments})
