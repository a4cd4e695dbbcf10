"""The plan of a run: its lengths in steps, its learning rates, and where compiled calls end."""

import numpy as np

from cifarzoo.errors import ExperimentError, TrainingError
from cifarzoo.experiment.schema import Experiment


class Plan:
    """The lengths of a run in steps, and where a compiled call must end.

    Args:
        experiment: What is trained.
        images: How many images the training split has.

    Attributes:
        total: Steps of the whole run. log, val, checkpoint: Steps from one to the next of each.

    Raises:
        ExperimentError: the schedule's parts do not fit each other, or small images or Lookahead the run's length.
        TrainingError: the schedule has no step.
    """

    def __init__(self, experiment: Experiment, images: int):
        parameters = experiment.train_parameters
        self._lengths = experiment.lengths(images)
        self._schedule, self._rate_factor = parameters.resolved_schedule(), parameters.rate_factor
        self.images = images
        self.batch_size = parameters.batch_size
        try:
            self.total = self._schedule.total(self._lengths)
        except ValueError as failure:
            raise ExperimentError(f"{experiment.location}: train_parameters.schedule: {failure}") from None
        self.log, self.val, self.checkpoint = (
            max(1, self._lengths(length))
            for length in (parameters.log_interval, parameters.val_interval, parameters.checkpoint_interval)
        )
        self._per_call = parameters.longest_call
        self._sizes = experiment.image_sizes(images)
        if self.total < 1:
            raise TrainingError(f"{experiment.location}: the schedule ends after {self.total} steps")
        try:
            self._sizes.check(self.total)
        except ValueError as failure:
            raise ExperimentError(f"{experiment.location}: train_parameters.progressive_resizing: {failure}") from None
        if (lookahead := parameters.lookahead) and self._lengths(lookahead.start) + lookahead.interval > self.total:
            raise ExperimentError(
                f"{experiment.location}: train_parameters.lookahead: begins after {self._lengths(lookahead.start)} steps "
                f"and meets every {lookahead.interval}, which a training of {self.total} steps does not reach"
            )

    def next_end(self, step: int) -> int:
        """The step before which the next call stops; a function of `step` alone, so that resumed runs repeat it."""
        intervals = (self.log, self.val, self.checkpoint, self._per_call)
        change = self._sizes.next_change(step) or self.total
        return min(self.total, change, *(step - step % interval + interval for interval in intervals))

    def image_size(self, step: int) -> int:
        """Height and width of the training images at a step."""
        return self._sizes.at(step)

    def full_size_images(self, first: int = 0, last: int | None = None) -> float:
        """How many images of full size would be the arithmetic of steps `first` to `last`, or to the end."""
        last = self.total if last is None else last
        return self._sizes.relative_area(first, last) * (last - first) * self.batch_size

    def rates(self, first: int, last: int) -> np.ndarray:
        """Learning rates of the steps from `first` up to but not including `last`."""
        return self._rate_factor * self._schedule.rates(np.arange(first, last), self._lengths)

    def is_due(self, interval: int, step: int) -> bool:
        """Whether something that happens every `interval` steps, and at the end, happens after `step` steps."""
        return step % interval == 0 or step == self.total


def stream_indices(seed: int, images: int, first: int, count: int) -> np.ndarray:
    """Return entries `first` to `first + count` of the endless stream of shuffled epochs: int32 [count].

    Each epoch is a permutation that depends only on (seed, epoch). `RandomState` draws the same numbers in every
    version of NumPy.
    """
    epochs = range(first // images, (first + count - 1) // images + 1)
    stream = np.concatenate([np.random.RandomState([seed, epoch]).permutation(images) for epoch in epochs])
    start = first - epochs[0] * images
    return stream[start : start + count].astype(np.int32)
