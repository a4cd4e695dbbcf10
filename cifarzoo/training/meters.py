"""Running numbers of a run: means over the log interval, seconds, and the pace without compilation."""

from typing import Any

from cifarzoo.experiment.plan import Plan
from cifarzoo.training.engines.interface import SUMS


class Meters:
    """Sums over the calls of a run; their state is part of a checkpoint.

    Args:
        plan: The run's plan.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self.seconds = 0.0
        # Full-size images and seconds of calls that did not compile, to extrapolate the time left.
        self._steady = {"images": 0.0, "seconds": 0.0}
        self._compiled_sizes: set[int] = set()
        self.clear()

    def clear(self) -> None:
        """Start a new log interval."""
        self._sums = dict.fromkeys((*SUMS, "steps", "seconds"), 0.0)

    def add(self, first: int, end: int, sums: dict[str, float], seconds: float) -> None:
        """Add a compiled call.

        Args:
            first: Number of its first step.
            end: Number of the step after its last one.
            sums: Sums over its steps of loss, error and gradient norm.
            seconds: What it took.
        """
        self.seconds += seconds
        if (size := self._plan.image_size(first)) in self._compiled_sizes:
            self._steady["images"] += self._plan.full_size_images(first, end)
            self._steady["seconds"] += seconds
        self._compiled_sizes.add(size)
        for key, value in (sums | {"steps": end - first, "seconds": seconds}).items():
            self._sums[key] += value

    def means(self) -> dict[str, float]:
        """Return means over the log interval so far.

        Returns:
            `loss` as the experiment defines it, `error` in percent, `accuracy` from 0 to 1, `gradient_norm`, and
            `images_per_second`.
        """
        steps = self._sums["steps"]
        means = {key: self._sums[key] / steps for key in SUMS}
        speed = steps * self._plan.batch_size / self._sums["seconds"]
        return means | {"error": 100 * means["error"], "accuracy": 1 - means["error"], "images_per_second": speed}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"seconds": self.seconds, "steady": self._steady, "sums": self._sums}

    def restore(self, state: dict[str, Any]) -> None:
        """Set what `state` returned."""
        self.seconds, self._steady, self._sums = state["seconds"], state["steady"], state["sums"]
