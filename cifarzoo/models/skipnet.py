"""SkipNet: residual networks whose gates decide for each image which blocks run.

Papers:
    Wang, Yu, Dou, Darrell, Gonzalez: SkipNet: Learning Dynamic Routing in Convolutional Networks, 2017
        (https://arxiv.org/abs/1711.09485), sections 3.1 to 3.3.
    For the pyramidal network: the MicroNet entry of 2019 that put the same gates into PyramidNet with ShakeDrop.

The first block always runs. From the output of each block, a gate decides whether the next block runs or its shortcut
replaces it. A "recurrent" gate is global average pooling and a linear layer to 10 numbers, followed by one LSTM cell
with a linear read-out that all gates share. A "feed_forward" gate has convolutions of its own; together these gates
have more parameters than the backbone. The backbone is the original ResNet with projection shortcuts. The authors' code
also creates a gate after the last block, which nothing uses; this network omits it, so it has that many parameters
fewer.

The mean number of open gates times `computation_cost` is added to the loss. A decision has no gradient; the two values
of `stage` are two ways around that, with the same weights and the same decisions at inference. In the "supervised"
stage decisions are hard forward and soft backward (`cifarzoo.layers.StraightThroughGate`). The "reinforce" stage, the
paper's hybrid reinforcement learning, starts from the weights of the first: gates are sampled and learn by policy
gradient (`cifarzoo.layers.PolicyGradient`), while the rest of the network gets its ordinary gradient. For a network of
N gates, the paper's alpha is a `computation_cost` of alpha / N.

Training computes every block for every image; `cifarzoo.models.skipping` runs a trained model without the skipped
blocks. Every block is a nested model, so that it can be called on just the images that need it.
"""

from typing import Literal, Unpack

import keras
from keras import layers, ops

from cifarzoo.errors import ModelError
from cifarzoo.layers import PolicyGradient, SampledGate, ShakeDrop, StraightThroughGate
from cifarzoo.models.common_layers import (
    ModelOptions,
    activation,
    batch_norm,
    check_size,
    conv,
    head,
    image_input,
    variable_dtype,
)
from cifarzoo.models.pyramidnet import FINAL_KEEP, bottleneck_branch, pyramid_shortcut, pyramid_widths
from cifarzoo.models.registry import register
from cifarzoo.models.residual_blocks import projection_shortcut
from cifarzoo.models.resnet import blocks_per_stage

WANG_2017 = "SkipNet: Learning Dynamic Routing in Convolutional Networks"

TRAINING_ONLY = ("computation_cost", "stage")
Gate = Literal["recurrent", "feed_forward"]
Stage = Literal["supervised", "reinforce"]

ARGUMENTS = {
    "gate": 'Decides whether a block runs: "recurrent" (one LSTM) or "feed_forward" (convolutions per block).',
    "computation_cost": "Added to the loss for every open gate; at least 0.",
    "stage": '"supervised" trains gates with straight-through estimates; "reinforce", the next stage, by sampling.',
}

EMBEDDING = 10
# All gates start open, because an untrained network that skips at random learns little.
OPEN_BIAS = 2.0


class Gates:
    """Builds a network's gates one after another, and finally the head, through which sampled gates are trained."""

    def __init__(self, stage, cost):
        self.stage, self.cost = stage, cost
        self.probabilities, self.decisions = [], []

    def __call__(self, x, name):
        """Return the decision for block `name`, [batch, 1], from the features `x`."""
        probability = self.probability(x, name)
        # In the precision of the variables, because bfloat16 keeps only two digits of a probability near one.
        options = {"name": f"{name}_gate", "dtype": variable_dtype()}
        gate = StraightThroughGate(self.cost, **options) if self.stage == "supervised" else SampledGate(**options)
        self.probabilities.append(probability)
        self.decisions.append(gate(probability))
        return self.decisions[-1]

    def probability(self, x, name):
        """Return the probability that block `name` runs, [batch, 1]."""
        raise NotImplementedError

    def head(self, x, options):
        """Return the network's head, with the layer that trains sampled gates before the activation."""
        if self.stage == "supervised" or not options["include_top"]:
            return head(x, options)
        logits = head(x, options | {"classifier_activation": None})
        pairs = [
            layers.Concatenate(dtype=variable_dtype(), name=name)(gates) if len(gates) > 1 else gates[0]
            for name, gates in (("gate_probabilities", self.probabilities), ("gate_decisions", self.decisions))
        ]
        x = PolicyGradient(self.cost, dtype=variable_dtype(), name="policy_gradient")([logits, *pairs])
        return activation(x, options)


class RecurrentGates(Gates):
    """Gates that share one LSTM cell and its read-out; the cell's state passes from gate to gate."""

    def __init__(self, stage, cost):
        super().__init__(stage, cost)
        self.cell = layers.LSTMCell(EMBEDDING, name="gate_lstm")
        self.read_out = layers.Dense(
            1,
            "sigmoid",
            bias_initializer=keras.initializers.Constant(OPEN_BIAS),
            dtype=variable_dtype(),
            name="gate_probability",
        )
        self.state = None

    def probability(self, x, name):
        """Return the probability that block `name` runs, [batch, 1]."""
        source = keras.Input(x.shape[1:])
        pooled = layers.GlobalAveragePooling2D(name=f"{name}_gate_pool")(source)
        linear = layers.Dense(EMBEDDING, name=f"{name}_gate_linear")
        embedding = keras.Model(source, linear(pooled), name=f"{name}_gate_embedding")(x)
        if self.state is None:
            self.state = [ops.zeros_like(embedding), ops.zeros_like(embedding)]
        output, self.state = self.cell(embedding, self.state)
        return self.read_out(output)


class FeedForwardGates(Gates):
    """Gates with their own convolutions: max pooling and two in the shallower networks, one in the deepest."""

    def __init__(self, stage, cost, convolutions):
        super().__init__(stage, cost)
        self.convolutions = convolutions

    def probability(self, x, name):
        """Return the probability that block `name` runs, [batch, 1]."""
        source = y = keras.Input(x.shape[1:])
        filters, gate = x.shape[-1], f"{name}_gate"
        if self.convolutions == 2:
            y = conv(layers.MaxPooling2D(2, name=f"{gate}_subsample")(y), filters, 3, name=f"{gate}_conv1")
            y = layers.ReLU(name=f"{gate}_relu1")(batch_norm(y, name=f"{gate}_bn1"))
        y = batch_norm(conv(y, filters, 3, 2, name=f"{gate}_conv2"), name=f"{gate}_bn2")
        y = layers.GlobalAveragePooling2D(name=f"{gate}_pool")(layers.ReLU(name=f"{gate}_relu2")(y))
        linear = layers.Dense(
            2,
            "softmax",
            bias_initializer=keras.initializers.Constant([0.0, OPEN_BIAS]),
            dtype=variable_dtype(),
            name=f"{gate}_linear",
        )
        return keras.Model(source, linear(y)[:, 1:], name=f"{gate}_network")(x)


def make_gates(gate, stage, cost, convolutions):
    """Check the arguments and return the builder of a network's gates."""
    if isinstance(cost, bool) or not isinstance(cost, (int, float)) or cost < 0:
        raise ModelError(f"computation_cost must be a number of at least 0, got {cost!r}")
    if stage not in ("supervised", "reinforce"):
        raise ModelError(f"stage must be 'supervised' or 'reinforce', got {stage!r}")
    if gate == "recurrent":
        return RecurrentGates(stage, cost)
    if gate == "feed_forward":
        return FeedForwardGates(stage, cost, convolutions)
    raise ModelError(f"gate must be 'recurrent' or 'feed_forward', got {gate!r}")


def run_block(x, block, shortcut, gates, name):
    """Append a block: `block(x, shortcut)`, or the shortcut alone where its gate is closed.

    Args:
        x: Input features of the block.
        block: Function of features and their shortcut that returns the block's output.
        shortcut: Function of features that returns their shortcut, or None for the identity.
        gates: Builder of the gate, or None for a block that always runs.
        name: Name of the block; its parts are the layers `name`, `name_shortcut` and `name_gate`.

    Returns:
        Output features of the block.
    """
    gate = None if gates is None else gates(x, name)
    skipped = x
    if shortcut is not None:
        source = keras.Input(x.shape[1:])
        skipped = keras.Model(source, shortcut(source), name=f"{name}_shortcut")(x)
    sources = keras.Input(x.shape[1:]), keras.Input(skipped.shape[1:])
    run = keras.Model(sources, block(*sources), name=name)([x, skipped])
    if gate is None:
        return run
    gate = layers.Reshape((1, 1, 1), name=f"{name}_gate_reshape")(gate)
    return skipped * (1 - gate) + run * gate


def skipnet(depth, gate, computation_cost, training_stage, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the gated ResNet of `depth` weighted layers."""
    gates = make_gates(gate, training_stage, computation_cost, convolutions=1 if depth > 100 else 2)
    per_stage = blocks_per_stage(depth, layers_per_block=2)

    def basic_block(filters, stride, name):
        def block(x, skipped):
            y = conv(x, filters, 3, stride, name=f"{name}_conv1")
            y = layers.ReLU(name=f"{name}_relu1")(batch_norm(y, name=f"{name}_bn1"))
            y = batch_norm(conv(y, filters, 3, name=f"{name}_conv2"), name=f"{name}_bn2")
            return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([skipped, y]))

        return block

    inputs, x = image_input(options)
    x = check_size(conv(x, 16, 3, name="stem_conv"))
    x = layers.ReLU(name="stem_relu")(batch_norm(x, name="stem_bn"))
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, per_stage + 1):
            name = f"stage{stage}_block{block}"
            first, changes = stage == block == 1, stage > 1 and block == 1

            def shortcut(x, filters=filters, name=name):
                return projection_shortcut(x, filters, 2, True, name)

            x = run_block(
                x,
                basic_block(filters, 2 if changes else 1, name),
                shortcut if changes else None,
                None if first else gates,
                name,
            )
            if first:
                x = layers.Identity(name="before_gates")(x)
    x = layers.Identity(name="features")(x)
    return keras.Model(inputs, gates.head(x, options), name=options["name"])


def pyramid_skipnet(
    depth, alpha, gate, computation_cost, training_stage, **options: Unpack[ModelOptions]
) -> keras.Model:
    """Build the PyramidNet of bottleneck blocks with ShakeDrop, gated from the second block of its second stage on."""
    gates = make_gates(gate, training_stage, computation_cost, convolutions=1)
    per_stage = blocks_per_stage(depth, layers_per_block=3)
    widths = pyramid_widths(3 * per_stage, alpha)

    inputs, x = image_input(options)
    x = batch_norm(check_size(conv(x, 16, 3, name="stem_conv")), name="stem_bn")
    for i, width in enumerate(widths):
        stage, number = i // per_stage + 1, i % per_stage + 1
        name, stride = f"stage{stage}_block{number}", 2 if stage > 1 and number == 1 else 1
        keep = 1 - (i + 1) / len(widths) * (1 - FINAL_KEEP)

        def block(x, skipped, width=width, stride=stride, keep=keep, name=name):
            y = ShakeDrop(keep, name=f"{name}_shake_drop")(bottleneck_branch(x, width, stride, name))
            return layers.Add(name=f"{name}_add")([skipped, y])

        def shortcut(x, width=width, stride=stride, name=name):
            return pyramid_shortcut(x, 4 * width, stride, name)

        x = run_block(x, block, shortcut, gates if i > per_stage else None, name)
        if i == per_stage:
            x = layers.Identity(name="before_gates")(x)
    x = layers.Identity(name="features")(x)
    x = layers.ReLU(name="final_relu")(batch_norm(x, name="final_bn"))
    return keras.Model(inputs, gates.head(x, options), name=options["name"])


@register(WANG_2017, 2017, training_only=TRAINING_ONLY, arguments=ARGUMENTS)
def cifar_skipnet38(
    gate: Gate = "recurrent",
    computation_cost: float = 0.0,
    stage: Stage = "supervised",
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-38 with recurrent or feed-forward gates that skip blocks."""
    return skipnet(38, gate, computation_cost, stage, **options)


@register(WANG_2017, 2017, training_only=TRAINING_ONLY, arguments=ARGUMENTS)
def cifar_skipnet74(
    gate: Gate = "recurrent",
    computation_cost: float = 0.0,
    stage: Stage = "supervised",
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-74 with recurrent or feed-forward gates that skip blocks."""
    return skipnet(74, gate, computation_cost, stage, **options)


@register(WANG_2017, 2017, training_only=TRAINING_ONLY, arguments=ARGUMENTS)
def cifar_skipnet110(
    gate: Gate = "recurrent",
    computation_cost: float = 0.0,
    stage: Stage = "supervised",
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """ResNet-110 with recurrent or feed-forward gates that skip blocks."""
    return skipnet(110, gate, computation_cost, stage, **options)


@register(WANG_2017, 2017, aliases=("pyramid_skip",), training_only=TRAINING_ONLY, arguments=ARGUMENTS)
def cifar_pyramid_skipnet272_a200(
    gate: Gate = "recurrent",
    computation_cost: float = 1e-4,
    stage: Stage = "supervised",
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """PyramidNet-272, alpha 200, with ShakeDrop and with gates in its second and third stage."""
    return pyramid_skipnet(272, 200, gate, computation_cost, stage, **options)
