"""Where one run stands: what its files, measurements and callbacks share."""

import contextlib
from typing import Any

import keras
import numpy as np

from cifarzoo.errors import TrainingError
from cifarzoo.training import engines
from cifarzoo.training.engines.interface import Engine
from cifarzoo.training.job import Job


class RunState:
    """One seed of a job, its engine, and how far it has trained.

    Args:
        job: What to train.
        seed: The seed.

    Attributes:
        folder: The run's folder.
        workers: The other processes that train the same run.
        engine: What trains it, once it has started.
        step: Number of steps done.
    """

    engine: Engine

    def __init__(self, job: Job, seed: int):
        self.job, self.seed, self.folder = job, seed, job.folder(seed)
        self.workers = engines.current().workers(job.experiment.distribution)
        self.step = 0

    def __str__(self) -> str:
        return f"{self.job.experiment.name}, seed {self.seed}"

    def measured_weights(self) -> contextlib.AbstractContextManager[Any]:
        """Inside the block, the model holds the weights that are measured and finally saved."""
        return self.engine.averaged_weights() if self.job.parts.averaging else contextlib.nullcontext()

    def copy_measured(self) -> list[np.ndarray]:
        """Return copies of the measured weights, in the order of `model.weights`."""
        with self.engine.averaged_weights() as model:
            return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.weights]

    def not_finite(self, what: str) -> TrainingError:
        """Return the error of a run with infinite or undefined numbers; `what` says which and when."""
        kept = "; the checkpoint before it is kept" if self.folder.checkpoint_path.exists() else ""
        return TrainingError(f"{self}: {what}{kept}; a smaller rate or a longer warm-up may help")
