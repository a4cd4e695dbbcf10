"""The layers and the initializer that Keras lacks. Importing this package registers them, as loading files requires.

Every random layer draws from a `keras.random.SeedGenerator`, whose state is a variable of the model: a checkpoint of
all `model.variables` resumes the same sequence. Where the backward pass differs from the forward pass, the layer
computes `b * x + stop_gradient((f - b) * x)`: f * x forward and b backward, on every backend.
"""

from cifarzoo.layers.channel_bias import ChannelBias
from cifarzoo.layers.gates import SampledGate, StraightThroughGate
from cifarzoo.layers.gelu import Gelu
from cifarzoo.layers.ghost_batch_norm import GhostBatchNormalization
from cifarzoo.layers.partial_identity import PartialIdentity
from cifarzoo.layers.policy_gradient import PolicyGradient
from cifarzoo.layers.shake import ShakeDrop, ShakeShake

__all__ = [
    "ChannelBias",
    "Gelu",
    "GhostBatchNormalization",
    "PartialIdentity",
    "PolicyGradient",
    "SampledGate",
    "ShakeDrop",
    "ShakeShake",
    "StraightThroughGate",
]
