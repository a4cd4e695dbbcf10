"""`cifarzoo.features`: feature maps by the same names in every family."""

import os
import re
from collections.abc import Sequence

import keras

from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.model_graph import input_tensors
from cifarzoo.models.load import load

STEM, FEATURES, POOLED, LOGITS = "stem", "features", "pooled", "logits"
# Layers that do not say to which part they belong.
_NAMES = {"stem": STEM, "whitening": STEM, "final": FEATURES, "pool": POOLED, "logits": LOGITS}


def features(model: str | os.PathLike | keras.Model, outputs: Sequence[str] | None = None) -> keras.Model:
    """Return a model whose outputs are the feature maps of a network of the zoo.

        maps = cifarzoo.features("resnet20_v1_cifar10_200ep_s0", ["stage2", "pooled"]).predict(images)
        maps["stage2"].shape  # (n, 16, 16, 32)

    The names are the same in every family, from the input to the output:

    * `stem`: what the first convolution gives, after its normalization and activation if the first block does not begin
      with them.
    * `stage1`, `stage2`, ...: what each stage gives to the next one. VGGs have five, ResNet-18 four, the others three.
      The first pooling of the next stage, or VGG's at the end of a stage, is part of the stage that is smaller.
    * `features`: the last feature map, before global pooling: what `include_top=False` returns.
    * `pooled`: the vector after global pooling, [batch, channels].
    * `logits`: the output, [batch, classes]; with `classifier_activation` its activation.

    A model built with `include_top=False` has neither `pooled` nor `logits`.

    Args:
        model: A network of the zoo, or whatever `cifarzoo.load` takes. The result shares its weights.
        outputs: The names of the outputs that are wanted; by default all.

    Returns:
        A Keras model with the same input, and a dictionary of outputs.

    Raises:
        ModelError: the model is not the zoo's, or has no such output. WeightsError: as `cifarzoo.load`.
    """
    if isinstance(model, str | os.PathLike):
        model = load(model)
    tensors = feature_tensors(model)
    wanted = list(tensors) if outputs is None else [outputs] if isinstance(outputs, str) else list(outputs)
    if not wanted or set(wanted) - set(tensors):
        received = ", ".join(map(str, wanted)) or "none"
        raise ModelError(f"{model.name}: the outputs are {', '.join(tensors)}, got {received}")
    return keras.Model(model.inputs[0], {name: tensors[name] for name in wanted}, name=f"{model.name}_features")


def feature_tensors(model: keras.Model) -> "dict[str, keras.KerasTensor]":
    """Return the symbolic outputs of `features` by name.

    Raises:
        ModelError: the model is not the zoo's.
    """
    firsts: dict[str, keras.layers.Layer] = {}
    stem = None
    for layer in model.layers:
        part = _part_of(layer.name)
        if part == "stage1" and STEM not in firsts and stem is None and isinstance(layer, keras.layers.ReLU):
            stem = layer.output  # VGG, whose first stage begins with the image
        if part:
            firsts.setdefault(part, layer)
    stages = sorted((part for part in firsts if part.startswith("stage")), key=lambda part: int(part[5:]))
    if not stages:
        raise ModelError(
            f"{model.name}: has no stages that are known by name; of a model that is not the zoo's, take the outputs "
            "of layers: keras.Model(model.input, model.get_layer(NAME).output)"
        )
    # What a part gives is what the next one begins with.
    tensors = {STEM: stem if STEM not in firsts else _input_of(firsts[stages[0]])}
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        after = firsts.get(following) if following else firsts.get(FEATURES) or firsts.get(POOLED)
        tensors[stage] = model.outputs[0] if after is None else _input_of(after)
    if POOLED not in firsts:
        return tensors | {FEATURES: model.outputs[0]}
    return tensors | {FEATURES: _input_of(firsts[POOLED]), POOLED: firsts[POOLED].output, LOGITS: model.outputs[0]}


def _part_of(name: str) -> str | None:
    """Return the part of the network that a layer belongs to by its name; None if the name says nothing."""
    if name == "stem_size":  # VGG has this layer, too, and no stem
        return None
    if match := re.match(r"(?:stage|group)(\d+)_", name):
        return f"stage{match[1]}"
    return FEATURES if name == FEATURES else _NAMES.get(name.split("_")[0])


def _input_of(layer: keras.layers.Layer) -> "keras.KerasTensor":
    return input_tensors(layer)[0]
