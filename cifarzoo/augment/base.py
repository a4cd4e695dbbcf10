"""What an augmentation is: checked parameters and a pure function on a batch."""

from pydantic import BaseModel, ConfigDict


class Augmentation(BaseModel):
    """A callable `(images, labels, draws) -> (images, labels)` that runs inside the compiled training step.

    Images are [batch, height, width, 3] with values in 0-255, uint8 until something blends them and float32 after that;
    labels are int32 [batch], or float32 [batch, classes] once mixed. Every random choice comes from `draws`
    (`cifarzoo.augment.random.Draws`), one an image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __call__(self, images, labels, draws):
        """Transform a batch."""
        raise NotImplementedError
