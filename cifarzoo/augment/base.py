"""What an augmentation is: checked parameters and a pure function on a batch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

CIFAR10_MEAN = (125, 123, 114)

Channel = Annotated[int, Field(ge=0, le=255)]
Colour = Literal["mean"] | tuple[Channel, Channel, Channel]


class Augmentation(BaseModel):
    """A callable `(images, labels, draws) -> (images, labels)` that runs inside the compiled training step.

    Images are [batch, height, width, 3] with values in 0-255, uint8 until something blends them and float32 after that;
    labels are int32 [batch], or float32 [batch, classes] once mixed. Every random choice comes from `draws`
    (`cifarzoo.augment.random.Draws`), one an image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def draws_per_image(self) -> int:
        """How many uniform numbers an image needs."""
        return 0

    @property
    def draws_per_batch(self) -> int:
        """How many uniform numbers the batch as a whole needs."""
        return 0

    @property
    def fill_colour(self) -> tuple[int, int, int]:
        """The colour of `fill` (0-255); "mean" is CIFAR-10's until `prepared` says otherwise."""
        return CIFAR10_MEAN if self.fill == "mean" else self.fill

    def prepared(self, classes: int, fill: tuple[int, int, int]) -> "Augmentation":
        """The same augmentation for a data set with so many classes and this mean colour."""
        if getattr(self, "fill", None) == "mean":
            return self.model_copy(update={"fill": tuple(fill)})
        return self

    def __call__(self, images, labels, draws):
        """Transform a batch."""
        raise NotImplementedError
