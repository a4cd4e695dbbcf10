"""The parts an engine trains with: everything settled, nothing left of the document they come from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from cifarzoo.training.averaging import Lookahead, MovingAverage
from cifarzoo.training.optimizers.rule import Rule
from cifarzoo.training.pruning import Pruning
from cifarzoo.training.teacher import Teacher


@dataclass(frozen=True)
class Parts:
    """Everything an engine needs except the data set and the seed.

    Attributes:
        build_model: Builds the model with fresh weights from a seed, in `precision`.
        augment: Function of (images, labels, draws) to images and labels of the same batch.
        loss: Function of (logits, labels, label_smoothing) to a scalar.
        label_smoothing: Share of the probability spread evenly over all classes.
        teacher: The networks whose outputs are learned besides the labels; None without.
        optimizer: The update rule.
        averaging: The rule of a second set of weights, which is then the one to evaluate; None without one.
        pruning: The schedule by which kernels become sparse; None without.
        batch_size: Images per step, over all replicas.
        accumulate: Number of equal parts a replica's share of the batch is computed in, one after another.
        sam_rho: Length of the step uphill of sharpness-aware minimization; 0 for none.
        image_size: Function of a step's number to the height and width of its images.
        max_steps_per_call: Steps of the longest compiled call.
        eval_batch_size: Images per evaluated batch.
        train_split: Name of the split to train on.
        precision: "float32", "bfloat16" (mixed) or "float64".
        distribution: "none", "mirrored", "multi_worker", "tpu" or "auto".
        jit_compile: Compile the TensorFlow step with XLA.
        compilation_cache: Folder in which an engine may keep compiled programs.
    """

    build_model: Callable[[int], keras.Model]
    augment: Callable[[Any, Any, Any], tuple[Any, Any]]
    loss: Callable[..., Any]
    label_smoothing: float
    teacher: Teacher | None
    optimizer: Rule
    averaging: MovingAverage | Lookahead | None
    pruning: Pruning | None
    batch_size: int
    accumulate: int
    sam_rho: float
    image_size: Callable[[int], int]
    max_steps_per_call: int
    eval_batch_size: int
    train_split: str
    precision: str
    distribution: str
    jit_compile: bool
    compilation_cache: Path
