"""Set small weights to zero while training: the section `pruning` of `train_parameters`."""

from typing import NamedTuple

from pydantic import Field

from cifarzoo.experiment.schedules import Length, Lengths
from cifarzoo.strict_model import Number, Strict


class PruningParameters(Strict):
    """Gradual magnitude pruning; see `cifarzoo.training.pruning.Pruning`."""

    hints = {
        "final_sparsity": "write train_parameters.pruning.sparsity",
        "target_sparsity": "write train_parameters.pruning.sparsity",
        "begin_step": "write train_parameters.pruning.start: {steps: N}",
        "end_step": "write train_parameters.pruning.end: {steps: N}",
        "frequency": "write train_parameters.pruning.interval: {steps: N}",
        "amount": "write train_parameters.pruning.sparsity",
    }

    sparsity: Number = Field(gt=0, lt=1)
    initial_sparsity: Number = Field(0.0, ge=0, lt=1)
    start: Length = Field(0, validate_default=True)
    end: Length
    interval: Length = Field(100, validate_default=True)
    exclude: list[str] = Field([], max_length=1000)

    def steps(self, lengths: Lengths, total: int) -> "PruningSteps":
        """Return the lengths in steps.

        Args:
            lengths: Turns lengths into steps.
            total: Steps of the training.

        Raises:
            ValueError: they contradict each other or the training's length.
        """
        start, end, interval = lengths(self.start), lengths(self.end), max(1, lengths(self.interval))
        if not start <= end <= total:
            raise ValueError(
                f"start and end: expected start <= end <= {total}, the steps of the training, got {start} and {end}"
            )
        if end == 0:
            raise ValueError("end: expected at least one step, got 0")
        if self.initial_sparsity > self.sparsity:
            raise ValueError(
                f"initial_sparsity: expected at most sparsity, {self.sparsity:g}, got {self.initial_sparsity:g}"
            )
        return PruningSteps(start, end, interval)


class PruningSteps(NamedTuple):
    """When masks change, in steps done.

    Attributes:
        start: The first time.
        end: The last time, with the final sparsity.
        interval: Steps between two changes.
    """

    start: int
    end: int
    interval: int

    def changes(self) -> list[int]:
        """Return the steps after which masks change."""
        return [*range(max(1, self.start), self.end, self.interval), self.end]
