"""Checks of a built model against its experiment, each of which would otherwise fail late or train something else."""

import keras

from cifarzoo.errors import ExperimentError, summarize
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.model_graph import all_layers, any_image_size, output_spec
from cifarzoo.layers import PolicyGradient


def check_model(experiment: Experiment, model: keras.Model, images_at_once: int) -> None:
    """Check that the model can be trained as the experiment says.

    Args:
        experiment: The experiment.
        model: Its model.
        images_at_once: Number of images over which BatchNormalization takes its statistics.

    Raises:
        ExperimentError: the loss, the image sizes or the batch size do not fit the model.
    """
    _check_loss(experiment, model)
    _check_image_sizes(experiment, model)
    _check_groups(experiment, model, images_at_once)


def _check_loss(experiment, model):
    """A model that learns its gates by policy gradients needs the likelihood as its loss."""
    loss = experiment.train_parameters.loss
    if loss != "cross_entropy" and any(isinstance(layer, PolicyGradient) for layer in all_layers(model)):
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
