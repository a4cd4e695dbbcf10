"""Stop training when validation no longer improves: the section `early_stopping` of `train_parameters`."""

from typing import Literal

from pydantic import Field

from cifarzoo.experiment.schedules import Length
from cifarzoo.strict_model import Number, Strict

# What `early_stopping` and `best_weights` compare, lower being better: columns of the log.
Monitor = Literal["val_error", "val_loss"]


class EarlyStopping(Strict):
    """Stop once `monitor` has not fallen by more than `min_delta` for `patience`.

    `min_delta` has the unit of what is monitored: percent of `val_error`, nats of `val_loss`.
    """

    hints = {
        "mode": "both quantities improve when they fall",
        "restore_best_weights": "write train_parameters.best_weights: val_error",
        "restore_best": "write train_parameters.best_weights: val_error",
    }

    monitor: Monitor = "val_error"
    patience: Length
    min_delta: Number = Field(0.0, ge=0)
