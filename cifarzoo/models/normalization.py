"""What normalizes features: BatchNormalization, GroupNormalization, layer normalization, or nothing.

Papers:
    Ioffe, Szegedy: Batch Normalization, 2015 (https://arxiv.org/abs/1502.03167).
    Wu, He: Group Normalization, 2018 (https://arxiv.org/abs/1803.08494).
    Zhang, Dauphin, Ma: Fixup Initialization, 2019 (https://arxiv.org/abs/1901.09321), section 3.

GroupNormalization takes its statistics over a group of channels of one image, so that images do not affect each other.
Differential privacy needs that, federated learning profits from it, and small batches do, too. Layer normalization is
GroupNormalization with one group, as in Wu and He (figure 2), over all channels and pixels. The other reading, over the
channels of every pixel, removes the contrast between pixels, and is made for networks like ConvNeXt.

Without normalization, convolutions get biases and initial weights follow the first two rules of Fixup: the last
convolution of every residual branch starts at zero, so that a block starts as its shortcut, and the others of L
branches of m convolutions are divided by L^(1 / (2m - 2)). Biases per channel replace its scalar ones, there are no
scalar multipliers, and the classifier starts small instead of at zero.
"""

from dataclasses import dataclass
from typing import Literal

from keras import layers

from cifarzoo.errors import ModelError
from cifarzoo.models.common_layers import batch_norm, check_choice, check_size_arguments, conv, he_normal

NormalizationKind = Literal["batch", "group", "layer", "none"]

KINDS = ("batch", "group", "layer", "none")

# Of which even the narrowest layers have whole ones: two channels of 16.
GROUPS = 8

EPSILON = 1e-5

ARGUMENTS = {
    "normalization": 'What follows convolutions: "batch" or "group" normalization; "layer" normalization, over all '
    'channels and pixels of an image; or "none", with biases and initial weights that make up for it.',
    "normalization_groups": 'Number of groups of "group" normalization, at least 2. It divides the channels of every '
    "layer.",
}


@dataclass(frozen=True)
class Normalization:
    """A network's kind of normalization, and the convolutions that fit it.

    Attributes:
        kind: One of `KINDS`.
        groups: Number of groups of GroupNormalization.
        branches: Number of residual branches of the network, 0 without any.
        branch_layers: Number of convolutions in each.
    """

    kind: NormalizationKind = "batch"
    groups: int = GROUPS
    branches: int = 0
    branch_layers: int = 2

    def __post_init__(self):
        """Raise ModelError if the arguments are invalid or contradict each other."""
        check_choice("normalization", self.kind, KINDS)
        check_size_arguments(normalization_groups=self.groups)
        if self.kind != "group" and self.groups != GROUPS:
            raise ModelError(
                f"normalization_groups={self.groups} needs normalization='group', got normalization={self.kind!r}"
            )
        if self.groups == 1:
            raise ModelError("normalization_groups must be at least 2, got 1, which is normalization='layer'")

    def __call__(self, x, *, name):
        """Normalize features, [batch, height, width, channels].

        Args:
            x: The features.
            name: Name of the layer, with "bn" in it, which becomes "gn" or "ln" for the other kinds.

        Raises:
            ModelError: The groups do not divide the channels.
        """
        if self.kind == "batch":
            return batch_norm(x, name=name)
        if self.kind == "none":
            return x
        groups, short = (self.groups, "gn") if self.kind == "group" else (1, "ln")
        if x.shape[-1] % groups:
            raise ModelError(
                f"normalization_groups must divide the channels of every layer, got {groups} for {x.shape[-1]} channels"
            )
        return layers.GroupNormalization(groups, epsilon=EPSILON, name=name.replace("bn", short))(x)

    def conv(self, x, filters, kernel_size, stride=1, *, last=False, use_bias=False, **arguments):
        """Apply a convolution inside a residual branch; see `common_layers.conv`.

        Args:
            x: The features.
            filters: Number of output channels.
            kernel_size: Height and width of the kernel.
            stride: Step of the kernel.
            last: Whether it is the last one of the branch.
            use_bias: Whether it has a bias in networks with normalization; without, it always has.
            arguments: Further arguments of `common_layers.conv`.
        """
        initializer = None
        if self.kind == "none":
            initializer = "zeros" if last else he_normal(self.branches ** (-1 / (2 * self.branch_layers - 2)))
        return conv(
            x, filters, kernel_size, stride, use_bias=self.use_bias(use_bias), initializer=initializer, **arguments
        )

    def use_bias(self, otherwise=False):
        """Whether convolutions have a bias."""
        return otherwise or self.kind == "none"


BATCH = Normalization()
