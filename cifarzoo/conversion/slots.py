"""What a model's layers have to be filled with, as plain data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cifarzoo.errors import WeightsError

if TYPE_CHECKING:
    import keras

Kind = Literal["convolution", "dense", "batch_norm"]
# The meaning of a layer's variables, in the order in which Keras lists them.
ROLES: dict[Kind, tuple[str, ...]] = {
    "convolution": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_norm": ("gamma", "beta", "mean", "variance"),
}
KINDS: dict[str, Kind] = {"Conv2D": "convolution", "Dense": "dense", "BatchNormalization": "batch_norm"}


@dataclass(frozen=True)
class Slot:
    """One layer with weights.

    Attributes:
        name: The layer's name.
        kind: What it computes.
        shapes: Shape of every variable by role, in Keras' order; kernels are [height, width, in, out] or [in, out].
        epsilon: What BatchNormalization adds to the variance.
    """

    name: str
    kind: Kind
    shapes: dict[str, tuple[int, ...]]
    epsilon: float = 0.0


def slots_of(model: "keras.Model") -> list[Slot]:
    """Return the layers of a model that have weights, in the order of its graph.

    Raises:
        WeightsError: one of them is of a kind that no other project's networks have.
    """
    slots = []
    for layer in model.layers:
        if not layer.weights:
            continue
        kind = KINDS.get(type(layer).__name__)
        # Without `scale`, or in a subclass, there are fewer variables or others.
        if kind is None or (kind == "batch_norm" and len(layer.weights) != len(ROLES[kind])):
            raise WeightsError(
                f"{model.name}: layer {layer.name} is a {type(layer).__name__} that other projects' networks lack"
            )
        shapes = {role: tuple(weight.shape) for role, weight in zip(ROLES[kind], layer.weights, strict=False)}
        slots.append(Slot(layer.name, kind, shapes, getattr(layer, "epsilon", 0.0)))
    return slots
