"""The section `teacher`: networks whose outputs a run learns from, as checked data."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from cifarzoo.augment.base import form
from cifarzoo.augment.entries import specs_of
from cifarzoo.augment.own_spec import KerasLayer, OwnFunction
from cifarzoo.augment.spec import CutMix, MixUp
from cifarzoo.strict_model import Number, PathText, PositiveNumber, PositiveWholeNumber, Strict

# With many views nothing repeats, and the logits take more memory than the images.
MOST_VIEWS = 1000
MOST_TEACHERS = 32
# Augmentations whose result for an image may depend on its batch.
_MIXES = "mixes images of a batch"
OF_BATCHES = {
    MixUp: _MIXES,
    CutMix: _MIXES,
    OwnFunction: "may use the whole batch",
    KerasLayer: "draws numbers for the whole batch",
}


def _usable(name: str) -> str:
    if not name:
        raise ValueError("expected the name of a network, a tag, a weight file or the folder of a run")
    if "{seed}" in name:
        raise ValueError("one teacher teaches all seeds, so {seed} has no value here; write a file's full name")
    return name


def _each_once(names: list[str]) -> list[str]:
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{repeated} is listed twice; every teacher counts once")
    return names


TeacherName = Annotated[PathText, AfterValidator(_usable)]
Names = Annotated[
    Annotated[TeacherName, Tag("str")]
    | Annotated[
        list[TeacherName], Field(min_length=1, max_length=MOST_TEACHERS), AfterValidator(_each_once), Tag("list")
    ],
    Discriminator(
        form,
        custom_error_type="teacher",
        custom_error_message="expected the name of a teacher, or a list of names",
    ),
]


class TeacherParameters(Strict):
    """The section `teacher`; see `cifarzoo.training.teacher.Teacher`."""

    hints = {
        "alpha": "write teacher.weight",
        "name": "write teacher.model",
        "teacher": "write teacher.model",
        "weights": "write teacher.model: a tag or a file says which network it is, too",
        "t": "write teacher.temperature",
        "tau": "write teacher.temperature",
    }

    model: Names
    temperature: PositiveNumber = 4.0
    weight: Number = Field(0.9, gt=0, le=1)
    views: PositiveWholeNumber | None = Field(None, le=MOST_VIEWS)

    @property
    def names(self) -> list[str]:
        """The teachers' names."""
        return [self.model] if isinstance(self.model, str) else list(self.model)

    def operations(self, multiply_accumulates: float, steps: int, batch_size: int, images: int) -> float:
        """Return the floating-point operations of the teachers in a run: 2 per multiply-accumulate.

        They see full-size images: every one that is trained on, or with `views` every image once per view.

        Args:
            multiply_accumulates: Of all teachers together, per image.
            steps: Steps of the run.
            batch_size: Images per step.
            images: Number of training images.
        """
        return 2.0 * multiply_accumulates * (self.views * images if self.views else steps * batch_size)


# A bare name, or a list of names, is a teacher with the default settings.
TeacherSetting = Annotated[
    TeacherParameters,
    BeforeValidator(
        lambda value: {"model": value} if isinstance(value, str | list) else value,
        json_schema_input_type=TeacherParameters | Names,
    ),
]


def check_views(augmentation: str | list) -> None:
    """Check that an augmentation makes the same view of an image in every batch.

    Raises:
        ValueError: an entry may not.
    """
    for spec in specs_of(augmentation):
        if reason := OF_BATCHES.get(type(spec)):
            raise ValueError(
                f"teacher.views: {spec.name} in augmentation {reason}, and batches differ from epoch to epoch; leave "
                "out views"
            )
