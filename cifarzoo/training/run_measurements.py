"""What one run measures: its sums, which must be finite, and its splits."""

import numpy as np

from cifarzoo.data.dataset import Split
from cifarzoo.metrics import classification_metrics
from cifarzoo.training.run_state import RunState


class Measurements:
    """Measures one run.

    Args:
        run: The run.
    """

    def __init__(self, run: RunState):
        self._run = run
        self._validated_step: int | None = None
        self._validation: dict[str, float] = {}

    def check_finite(self, end: int, sums: dict[str, float], rate: float) -> None:
        """Check the sums of a compiled call.

        Args:
            end: Number of steps done after it.
            sums: Sums of loss, error and gradient norm over its steps.
            rate: Learning rate of its last step.

        Raises:
            TrainingError: one of them is not finite.
        """
        for key, name in (("loss", "loss"), ("gradient_norm", "gradient")):
            if not np.isfinite(sums[key]):
                steps = f"between steps {self._run.step} and {end} (learning rate {rate:.3g})"
                raise self._run.not_finite(f"the {name} is not finite {steps}")

    def validate(self) -> dict[str, float]:
        """Measure the validation split; the last step's metrics are asked for twice and computed once."""
        if self._validated_step != self._run.step:
            job = self._run.job
            self._validation = self._measure(job.experiment.val_split, job.validation())
            self._validated_step = self._run.step
        return self._validation

    def forget(self) -> None:
        """Measure again when asked, because the weights may have changed since."""
        self._validated_step = None

    def validation_logs(self) -> dict[str, float]:
        """Return what a validation adds to the logs: losses in nats, errors in percent, accuracy as a share."""
        metrics = self.validate()
        logs = {
            "val_loss": metrics["nll"],
            "val_error": metrics["error"],
            "val_accuracy": 1 - metrics["error"] / 100,
            "weight_norm": self._weight_norm(),
        }
        experiment = self._run.job.experiment
        if experiment.train_parameters.train_metrics:
            split = experiment.train_split
            metrics = self._measure(split, self._run.job.arrays.split(split))
            logs |= {"train_loss": metrics["nll"], "train_error": metrics["error"]}
        return logs

    def _measure(self, split: str, arrays: Split) -> dict[str, float]:
        logits = self._run.engine.predict(split)
        if not np.isfinite(logits).all():
            raise self._run.not_finite(f"the outputs are not finite after {self._run.step} steps")
        return classification_metrics(logits, arrays.labels, arrays.soft_labels)

    def _weight_norm(self) -> float:
        """L2 norm of all trainable weights, not averaged."""
        self._run.engine.sync_model()
        values = (v.numpy().astype(np.float64) for v in self._run.engine.model.trainable_variables)
        return float(np.sqrt(sum(np.sum(np.square(value)) for value in values)))
