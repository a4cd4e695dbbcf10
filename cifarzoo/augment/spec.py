"""The parameters of each augmentation as a checked class, without Keras.

A class names its kernel, the function in this package that transforms a batch; `cifarzoo.augment.pipeline` imports the
kernels that a pipeline needs. `cifarzoo.augment.entries` reads the classes from an experiment.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from cifarzoo.augment.base import Color, Spec
from cifarzoo.augment.policy_lists import check_policies, read_policies
from cifarzoo.data.own_data import LARGEST
from cifarzoo.errors import ExperimentError
from cifarzoo.strict_model import Boolean, Number, WholeNumber
from cifarzoo.strict_yaml import excerpt, existing_file


class Crop(Spec):
    """Pad each side by `padding` pixels and crop the original size at a random position, drawn per image.

    He et al., https://arxiv.org/abs/1512.03385, section 4.2, pad with zeros (black); Wide ResNets reflect.
    """

    name = "crop"
    kernel = "standard.crop"

    padding: WholeNumber = Field(4, ge=0, le=256)
    mode: Literal["zero", "reflect"] = "zero"

    def misfit(self, image_size: int) -> str:
        """Reflected pixels come from inside the image."""
        if self.mode == "zero" or self.padding < image_size:
            return ""
        return f"padding: must be less than {image_size}, the size of the images, where it reflects; got {self.padding}"

    @property
    def draws_per_image(self) -> int:
        """Row and column."""
        return 2


class Flip(Spec):
    """Mirror images left to right, each time with a probability or every other epoch.

    `alternating` is Keller Jordan's derandomized flip (https://arxiv.org/abs/2404.00498): half of the images, chosen
    once, are mirrored in even epochs and the other half in odd ones, so that two epochs in a row show both views.
    """

    name = "flip"
    kernel = "standard.flip"

    probability: Number = Field(0.5, ge=0, le=1)
    alternating: Boolean = False

    @property
    def draws_per_image(self) -> int:
        """Whether to flip. The alternating flip draws from the image's position in the data set instead."""
        return 0 if self.alternating else 1


class Cutout(Spec):
    """Overwrite a square of `size` pixels around a random center; the square may overhang the border.

    DeVries and Taylor, https://arxiv.org/abs/1708.04552. They fill with zero after normalization, which is the mean
    color.
    """

    name = "cutout"
    kernel = "standard.cutout"

    size: WholeNumber = Field(16, ge=1, le=LARGEST)
    fill: Color = "mean"

    def misfit(self, image_size: int) -> str:
        """A larger square would cover whole images."""
        fits = self.size <= image_size
        return "" if fits else f"size: must be at most {image_size}, the size of the images, got {self.size}"

    @property
    def draws_per_image(self) -> int:
        """Row and column of the center."""
        return 2


class ColorJitter(Spec):
    """Change brightness, contrast, saturation and hue at random, in this order.

    The ranges are torchvision's: the first three factors are uniform in [max(0, 1 - value), 1 + value], and the hue
    turns by a part of the color circle uniform in [-hue, hue]. torchvision shuffles the order of the four per image;
    here it is fixed.
    """

    name = "jitter"
    kernel = "color.jitter"

    brightness: Number = Field(0.0, ge=0)
    contrast: Number = Field(0.0, ge=0)
    saturation: Number = Field(0.0, ge=0)
    hue: Number = Field(0.0, ge=0, le=0.5)

    @property
    def draws_per_image(self) -> int:
        """Three factors and a turn."""
        return 4


class Policy(Spec):
    """Parameters that all policies share.

    Attributes:
        fill: The color of pixels whose source lies outside a warped image; black by default.
        slots: How many operations are applied in a row.
        independent_slots: Whether each slot draws its own operation. Otherwise one choice sets the operations of all
            slots, as a sub-policy does.
    """

    kernel = "policies.apply_policy"

    fill: Color = (0, 0, 0)

    @property
    def slots(self) -> int:
        """Two."""
        return 2

    @property
    def independent_slots(self) -> bool:
        """One choice sets all."""
        return False

    @property
    def draws_per_image(self) -> int:
        """Four per slot: which operation, whether, and two for its sign or position."""
        return 4 * self.slots


class AutoAugment(Policy):
    """Apply one of the 25 sub-policies found on CIFAR-10, drawn per image.

    Cubuk et al., https://arxiv.org/abs/1805.09501. Warped images are filled with the mean color, as in their code.
    """

    name = "autoaugment"

    fill: Color = "mean"


class RandAugment(Policy):
    """Apply `operations_per_image` (N) of fourteen operations, drawn with replacement, all at `magnitude` (M) of 0-10.

    Cubuk et al., https://arxiv.org/abs/1909.13719. Magnitudes mean what AutoAugment's levels mean. Defaults are the
    paper's for WRN-28-10 on CIFAR-10.
    """

    name = "randaugment"

    operations_per_image: WholeNumber = Field(3, ge=1, le=8)
    magnitude: Number = Field(5, ge=0, le=10)
    fill: Color = "mean"

    @property
    def slots(self) -> int:
        """N."""
        return self.operations_per_image

    @property
    def independent_slots(self) -> bool:
        """Operations are drawn with replacement."""
        return True


class TrivialAugment(Policy):
    """Apply one of fourteen operations per image, at one of 31 strengths, in the wide space.

    Müller and Hutter, https://arxiv.org/abs/2103.10158.
    """

    name = "trivialaugment"

    @property
    def slots(self) -> int:
        """One."""
        return 1


class PolicyList(Policy):
    """Apply one of many sub-policies per image: each is `[[operation, probability, level], [...]]`.

    The format and the meaning of levels (0-1) are Fast AutoAugment's (https://arxiv.org/abs/1905.00397). In an
    experiment `file` may name a YAML or JSON file with the sub-policies, which then become part of the experiment.
    """

    name = "policies"
    file_keys = ("file",)

    policies: tuple[tuple[tuple[str, Number, Number], ...], ...]

    @classmethod
    def with_files(cls, parameters, folders):
        """Replace `file` by the sub-policies in it, and check them."""
        if ("file" in parameters) == ("policies" in parameters):
            raise ValueError(f"expected exactly one of `file` and `policies`, got {excerpt(parameters)}")
        try:
            if "policies" in parameters:
                check_policies(parameters["policies"], "policies")
                return parameters
            file = parameters["file"]
            candidates = [folder / file for folder in folders] if isinstance(file, str | Path) else []
            policies = read_policies(existing_file(candidates) or file)
        except ExperimentError as failure:
            raise ValueError(str(failure)) from None
        others = {key: value for key, value in parameters.items() if key != "file"}
        return others | {"policies": [[list(operation) for operation in sub_policy] for sub_policy in policies]}


class Mix(Spec):
    """Parameters that MixUp and CutMix share.

    Attributes:
        alpha: Parameter of the distribution Beta(alpha, alpha) of lambda, the share of the first image.
        probability: The probability that a batch (an image, see `per`) is mixed.
        per: Whether to draw one lambda per batch, as the papers' code does, or one per image.
    """

    alpha: Number = Field(1.0, gt=0, le=100)
    probability: Number = Field(1.0, ge=0, le=1)
    per: Literal["batch", "image"] = "batch"

    @property
    def draws_per_image(self) -> int:
        """Whether, lambda, and two for a position."""
        return 4 if self.per == "image" else 0

    @property
    def draws_per_batch(self) -> int:
        """The same for the whole batch."""
        return 4 if self.per == "batch" else 0


class MixUp(Mix):
    """Blend two images, and their labels.

    Zhang et al., https://arxiv.org/abs/1710.09412. With `fold` the first image gets the larger of lambda and
    1 - lambda.
    """

    name = "mixup"
    kernel = "mixing.mixup"

    fold: Boolean = False


class CutMix(Mix):
    """Paste a box of another image; labels mix by area.

    Yun et al., https://arxiv.org/abs/1905.04899. On CIFAR the paper's code mixes every other batch.
    """

    name = "cutmix"
    kernel = "mixing.cutmix"

    probability: Number = Field(0.5, ge=0, le=1)


_ALL = (Crop, Flip, Cutout, ColorJitter, AutoAugment, RandAugment, TrivialAugment, PolicyList, MixUp, CutMix)
SPECS: dict[str, type[Spec]] = {spec.name: spec for spec in _ALL}

PIPELINES = {
    "none": [],
    "standard": ["crop", "flip"],
    "cutout": ["crop", "flip", "cutout"],
    "autoaugment": ["autoaugment", "crop", "flip", "cutout"],
    "randaugment": ["randaugment", "crop", "flip", "cutout"],
    "trivialaugment": ["trivialaugment", "crop", "flip", "cutout"],
    "mixup": ["crop", "flip", "mixup"],
    "cutmix": ["crop", "flip", "cutmix"],
}
