"""Watch validation: when to stop early, and which weights were the best; its state is part of a checkpoint."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.train_parameters import TrainParameters

# Keys of `classification_metrics`.
METRICS = {"val_error": "error", "val_loss": "nll"}
BEST = "best"


class Watch:
    """What `early_stopping` and `best_weights` need to know about the validations so far.

    Those before the first step on images of full size do not count: the network is measured on such images, on which it
    may not improve while it is trained on smaller ones.

    Args:
        parameters: The experiment's.
        plan: The run's plan.

    Attributes:
        stops: Whether training is to stop.
        best: With `best_weights`, `value` and `step` of the best validation so far.
        best_weights: The weights that were measured then, in the order of `model.weights`.
    """

    def __init__(self, parameters: TrainParameters, plan: Plan):
        self._early, self._monitor, self._patience = parameters.early_stopping, parameters.best_weights, plan.patience
        self._start = plan.full_size_start
        self.stops = False
        self.best: dict[str, Any] | None = None
        self.best_weights: list[np.ndarray] = []
        self._improved: dict[str, Any] | None = None  # the last validation that `early_stopping` counts as better

    def see(self, step: int, metrics: dict[str, float], weights: Callable[[], list[np.ndarray]]) -> None:
        """Compare a validation with the earlier ones.

        Args:
            step: Number of steps before it.
            metrics: What `classification_metrics` returned.
            weights: Function that returns copies of the measured weights.
        """
        if step <= self._start:
            return
        if early := self._early:
            value = metrics[METRICS[early.monitor]]
            if self._improved is None or value < self._improved["value"] - early.min_delta:
                self._improved = {"value": value, "step": step}
            self.stops = step - self._improved["step"] >= self._patience
        if self._monitor:
            value = metrics[METRICS[self._monitor]]
            if self.best is None or value < self.best["value"]:
                self.best, self.best_weights = {"value": value, "step": step}, weights()

    @property
    def reason(self) -> str:
        """Why training stops early, in words; "" if it does not."""
        if not (self.stops and self._early and self._improved):
            return ""
        best = f"{self._improved['value']:.4g} after step {self._improved['step']}"
        return f"{self._early.monitor} has not improved on {best} by more than {self._early.min_delta:g}"

    def meta(self) -> dict[str, Any]:
        """Return what a checkpoint keeps as plain data; nothing for a run that watches nothing."""
        if not (self._early or self._monitor):
            return {}
        return {"watch": {"stops": self.stops, "improved": self._improved, "best": self.best}}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps as arrays."""
        return {f"{BEST}/{number:04d}": array for number, array in enumerate(self.best_weights)}

    def with_best(self, state: dict[str, np.ndarray], averages: bool) -> dict[str, np.ndarray]:
        """Return the state of an engine with the best weights, which are then measured again and saved.

        Args:
            state: What `Engine.state` returned.
            averages: Whether there are averages, which are replaced as well.
        """
        groups = ("weights", "averages") if averages else ("weights",)
        names = [f"{group}/{number:04d}" for group in groups for number in range(len(self.best_weights))]
        return state | dict(zip(names, self.best_weights * len(groups), strict=True))

    @staticmethod
    def expected_arrays(model: keras.Model) -> dict[str, np.ndarray]:
        """Return arrays with the names, shapes and types of those of a checkpoint with a best validation."""
        return {f"{BEST}/{number:04d}": np.empty(v.shape, v.dtype) for number, v in enumerate(model.weights)}

    def restore(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Set what `meta` and `arrays` returned; other keys and arrays are ignored."""
        saved = meta.get("watch") or {"stops": False, "improved": None, "best": None}
        self.stops, self._improved, self.best = saved["stops"], saved["improved"], saved["best"]
        self.best_weights = [arrays[name] for name in sorted(arrays) if name.startswith(f"{BEST}/")]

    def description(self, averages: str) -> str:
        """Describe the final weights: "lowest val_error, step 1200"; `averages` names averaged weights, if any."""
        which = f"lowest {self._monitor}, step {self.best['step']}" if self.best else "last step"
        return f"{averages}, {which}" if averages and self.best else averages or which
