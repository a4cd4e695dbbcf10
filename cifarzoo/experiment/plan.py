"""The plan of a run in steps: lengths, learning rates, image sizes, ends of compiled calls, and the order of images."""

import numpy as np

from cifarzoo.errors import ExperimentError, TrainingError
from cifarzoo.experiment.keeping import KeptSteps
from cifarzoo.experiment.resizing import FULL_SIZE
from cifarzoo.experiment.schedules import MAX_STEPS
from cifarzoo.experiment.schema import Experiment


class Plan:
    """The lengths of a run in steps, and the steps at which a compiled call must end.

    Args:
        experiment: The experiment to train.
        images: Number of images in the training split.
        full_size: Their height and width.

    Attributes:
        total: Steps of the whole run.
        images, full_size: As passed.
        batch_size: Images per step.
        log, val, checkpoint: Steps between two logs, validations and checkpoints.
        full_size_start: The first step with images of full size.
        patience: Steps without improvement after which training stops early; 0 without early stopping.
        pruning: The steps after which masks change; None without pruning.
        kept: The steps after which the measured weights are kept.

    Raises:
        ExperimentError: parts of the schedule contradict each other, it has more steps than int32 can count, or
            progressive resizing, Lookahead, early stopping, pruning or kept weights do not fit into the run's length.
        TrainingError: the schedule has no step.
    """

    def __init__(self, experiment: Experiment, images: int, full_size: int = FULL_SIZE):
        parameters = experiment.train_parameters
        location = experiment.location
        self._lengths = experiment.lengths(images)
        self._schedule, self._rate_factor = parameters.resolved_schedule(), parameters.rate_factor
        self.images, self.full_size = images, full_size
        self.batch_size = parameters.batch_size
        try:
            self.total = self._schedule.total(self._lengths)
        except ValueError as failure:
            raise ExperimentError(f"{location}: train_parameters.schedule: {failure}") from None
        if self.total > MAX_STEPS:
            raise ExperimentError(f"{location}: train_parameters.schedule: at most {MAX_STEPS} steps, got {self.total}")
        self.log, self.val, self.checkpoint = (
            max(1, self._lengths(length))
            for length in (parameters.log_interval, parameters.val_interval, parameters.checkpoint_interval)
        )
        self._per_call = parameters.longest_call
        self._sizes = experiment.image_sizes(images, full_size)
        if self.total < 1:
            raise TrainingError(f"{location}: the schedule ends after {self.total} steps")
        try:
            self._sizes.check(self.total)
        except ValueError as failure:
            raise ExperimentError(f"{location}: train_parameters.progressive_resizing: {failure}") from None
        self.full_size_start = self._sizes.full_size_start
        try:
            self.kept = KeptSteps(parameters.keep, self._lengths, self.total)
        except ValueError as failure:
            raise ExperimentError(f"{location}: train_parameters.keep.{failure}") from None
        try:
            self.pruning = parameters.pruning.steps(self._lengths, self.total) if parameters.pruning else None
        except ValueError as failure:
            raise ExperimentError(f"{location}: train_parameters.pruning.{failure}") from None
        self.patience = self._lengths(parameters.early_stopping.patience) if parameters.early_stopping else 0
        longest = self.total - self.full_size_start - 1
        if parameters.early_stopping and not 1 <= self.patience <= longest:
            smaller = f", {self.full_size_start} of them on smaller images" if self.full_size_start else ""
            raise ExperimentError(
                f"{location}: train_parameters.early_stopping.patience: expected 1 to {longest} steps, as training has "
                f"{self.total}{smaller}, got {self.patience}"
            )
        if (lookahead := parameters.lookahead) and self._lengths(lookahead.start) + lookahead.interval > self.total:
            raise ExperimentError(
                f"{location}: train_parameters.lookahead: starts after {self._lengths(lookahead.start)} steps and "
                f"averages every {lookahead.interval}, which the {self.total} training steps do not reach"
            )

    def next_end(self, step: int) -> int:
        """Return the end (exclusive) of the compiled call that starts at `step`.

        It depends only on `step`, so that a resumed run splits its calls as the uninterrupted one does.
        """
        intervals = (self.log, self.val, self.checkpoint, self._per_call)
        change = self._sizes.next_change(step) or self.total
        return min(self.kept.next(step), change, *(step - step % interval + interval for interval in intervals))

    def image_size(self, step: int) -> int:
        """Return the height and width of the training images at a step, in pixels."""
        return self._sizes.at(step)

    def full_size_images(self, first: int = 0, last: int | None = None) -> float:
        """Return how many full-size images cost as much as steps `first` to `last` (exclusive; by default the end)."""
        last = self.total if last is None else last
        return self._sizes.relative_area(first, last) * (last - first) * self.batch_size

    def rates(self, first: int, last: int) -> np.ndarray:
        """Return the learning rates of steps `first` to `last` (exclusive), float64 [last - first]."""
        return self._rate_factor * self._schedule.rates(np.arange(first, last), self._lengths)

    def is_due(self, interval: int, step: int) -> bool:
        """Whether an event that occurs every `interval` steps, and at the end, occurs after `step` steps."""
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
