"""Checks of a built model against its experiment, each of which would otherwise fail late or train something else."""

import math

import keras
import numpy as np

from cifarzoo.errors import ExperimentError, ModelError, summarize
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.hardware import bfloat16_fault
from cifarzoo.keras_internals.model_graph import all_layers, any_image_size, computes_in, output_spec
from cifarzoo.layers import PolicyGradient
from cifarzoo.metrics import are_probabilities

# Largest share of the initial weights in a moving average at the end of training that gives no warning.
MAX_INITIAL_SHARE = 0.01
# With fewer outputs, all may lie between 0 and 1 by chance.
ENOUGH_OUTPUTS = 20


def check_model(experiment: Experiment, model: keras.Model, images_at_once: int) -> None:
    """Check that the model can be trained as the experiment says.

    Args:
        experiment: The experiment.
        model: Its model.
        images_at_once: Number of images over which BatchNormalization takes its statistics.

    Raises:
        ExperimentError: the loss, the image sizes or the batch size do not fit the model, or its arithmetic gives
            wrong results here.
    """
    _check_arithmetic(experiment, model)
    _check_loss(experiment, model)
    _check_image_sizes(experiment, model)
    _check_groups(experiment, model, images_at_once)


def check_outputs(experiment: Experiment, outputs: np.ndarray) -> None:
    """Check that a model returns logits. The loss would apply a second softmax to probabilities, and training suffer.

    Args:
        experiment: The experiment.
        outputs: The outputs for some images, float [images, classes].

    Raises:
        ModelError: the outputs are probabilities, of a softmax or of sigmoids.
    """
    if kind := kind_of_probabilities(outputs):
        raise ModelError(
            f"{experiment.location}: {experiment.model} returns probabilities, like a {kind}; it must return logits: "
            "remove the last activation, or set classifier_activation: null for keras.applications"
        )


def _check_arithmetic(experiment, model):
    if computes_in(model, "bfloat16") and (fault := bfloat16_fault()):
        raise ExperimentError(
            f"{experiment.location}: precision: {fault}, and {experiment.model} would be measured wrongly: use "
            "float32 or another version"
        )


def average_warning(experiment: Experiment, plan: Plan) -> str | None:
    """Return a one-line warning if the moving average will still hold much of the initial weights at the end."""
    decay, warmup = experiment.train_parameters.ema_decay, experiment.train_parameters.ema_warmup
    share = _initial_share(decay, warmup, plan.total)
    if share <= MAX_INITIAL_SHARE:
        return None
    longest = MAX_INITIAL_SHARE ** (1 / plan.total)
    percent = f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"
    digits = 1 - math.floor(math.log10(1 - longest))
    return (
        f"{experiment.location}: train_parameters.ema_decay: {decay} over {plan.total} steps leaves {percent} "
        "% of the initial weights in the average, which is what is evaluated; "
        f"{longest:.{digits}f} leaves 1 %{'' if warmup else ', and ema_warmup: true almost nothing'}"
    )


def _initial_share(decay: float, warmup: bool, steps: int) -> float:
    """Return the share of the initial weights in a moving average after some steps; see `MovingAverage`."""
    if not warmup:
        return decay**steps
    # Until (1 + step) / (10 + step) reaches the decay; their product is a ratio of factorials.
    rising = min(steps, max(0, math.ceil((10 * decay - 1) / (1 - decay))))
    product = math.exp(math.lgamma(rising + 1) + math.lgamma(10) - math.lgamma(rising + 10))
    return product * decay ** (steps - rising)


def kind_of_probabilities(outputs: np.ndarray) -> str:
    """Return "softmax" or "sigmoid" if outputs, float [images, classes], look like its probabilities, else ""."""
    if are_probabilities(outputs):
        return "softmax"
    inside = ((outputs > 0) & (outputs < 1)).all()
    return "sigmoid" if inside and outputs.size >= ENOUGH_OUTPUTS and np.ptp(outputs) > 0 else ""


def _check_loss(experiment, model):
    """A model that learns its gates by policy gradients needs the likelihood as its loss."""
    loss = experiment.train_parameters.loss
    if not any(isinstance(layer, PolicyGradient) for layer in all_layers(model)):
        return
    if experiment.teacher:
        raise ExperimentError(
            f"{experiment.location}: teacher: {experiment.model} learns its gates by policy gradients under the "
            "cross-entropy of labels only; train its other stages with a teacher"
        )
    if loss != "cross_entropy":
        raise ExperimentError(
            f"{experiment.location}: train_parameters.loss: {experiment.model} learns its gates under cross_entropy "
            f"only, got {loss}"
        )


def _check_image_sizes(experiment, model):
    """The model must take the images of every stage of `progressive_resizing`."""
    for stage in experiment.train_parameters.progressive_resizing:
        images = keras.KerasTensor((2, stage.size, stage.size, 3), model.inputs[0].dtype)
        try:
            with any_image_size(model):
                output_spec(model, images)
        except Exception as failure:  # whatever the layers of a user's own model raise
            raise ExperimentError(
                f"{experiment.location}: train_parameters.progressive_resizing: {experiment.model} does not take "
                f"images of {stage.size} x {stage.size} ({summarize(failure)})"
            ) from None


def _check_groups(experiment, model, images_at_once):
    """Ghost BatchNormalization falls back to plain BatchNormalization if its groups do not divide the batch."""
    for layer in all_layers(model):
        if images_at_once % (size := getattr(layer, "group_size", 1)):
            raise ExperimentError(
                f"{experiment.location}: train_parameters.batch_size: {experiment.model} takes BatchNormalization's "
                f"statistics over groups of {size} images, which do not divide {images_at_once} images"
            )
