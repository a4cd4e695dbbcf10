"""Build what an experiment describes: model, augmentation, optimizer, averaging.

The schema is data and knows no Keras; engines take the parts and know no schema. This module is the bridge.
"""

import importlib
from pathlib import Path

import keras

from cifarzoo.augment import pipeline
from cifarzoo.data.statistics import mean_colour
from cifarzoo.errors import ExperimentError, ModelError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.models import registry
from cifarzoo.pretrained.loading import load_file
from cifarzoo.training.optimizer import SGD, Lookahead, MovingAverage


def build_model(experiment: Experiment, classes: int, seed: int) -> keras.Model:
    """Build the model with fresh weights drawn from `seed`, in the experiment's precision.

    With `init_weights` the weights come from that file; `{logdir}` and `{seed}` in its path are filled in.

    Raises:
        ExperimentError: the model does not have one output per class, or an argument does not fit.
        ModelError: no such model or module. WeightsError: `init_weights` is missing or does not fit.
    """
    keras.utils.set_random_seed(seed)
    with arithmetic(experiment.precision):
        model = model_factory(experiment)(**{"classes": classes} | experiment.model_parameters)
    if (outputs := model.output_shape[-1]) != classes:
        raise ExperimentError(
            f"model_parameters: {experiment.model} has {outputs} outputs, {experiment.dataset} has {classes} classes"
        )
    if experiment.init_weights:
        logdir = experiment.train_parameters.logdir
        load_file(model, Path(experiment.init_weights.replace("{logdir}", logdir).replace("{seed}", str(seed))))
    return model


def model_factory(experiment: Experiment):
    """Return the function that builds the model: a factory of the zoo, or one from the user's own `module`.

    Raises:
        ExperimentError: `model_parameters` has a key that only the runner sets.
        ModelError: no such model or module.
    """
    if experiment.module is None:
        for key in experiment.model_parameters:
            if key in registry.COMMON_ARGUMENTS:
                raise ExperimentError(
                    f"model_parameters.{key}: the runner sets it; here are arguments of the architecture only"
                )
        return registry.get(experiment.model).factory
    try:
        module = importlib.import_module(experiment.module)
    except ImportError as failure:
        raise ModelError(f"module: cannot import {experiment.module!r} ({failure})") from None
    if not callable(factory := getattr(module, experiment.model, None)):
        raise ModelError(f"model: {experiment.module} has no function {experiment.model!r}")
    return factory


def build_augmentation(experiment: Experiment, classes: int) -> pipeline.Pipeline:
    """Build the function on a batch that `augmentation` describes.

    Raises:
        ExperimentError: an entry does not fit.
    """
    try:
        return pipeline.build(experiment.augmentation, classes, mean_colour(experiment.dataset))
    except ExperimentError as failure:
        raise ExperimentError(f"{experiment.location}: {failure}") from None


def build_optimizer(experiment: Experiment) -> SGD:
    """Build the update rule."""
    parameters = experiment.train_parameters
    return SGD(
        momentum=parameters.momentum,
        nesterov=parameters.nesterov,
        weight_decay=parameters.weight_decay,
        decay_all=parameters.decay_all,
        clip_norm=parameters.clip_norm,
        weight_decay_mode=parameters.weight_decay_mode,
        momentum_convention=parameters.momentum_convention,
        bias_lr_factor=parameters.bias_lr_factor,
    )


def build_averaging(experiment: Experiment, images: int) -> MovingAverage | Lookahead | None:
    """Build the rule by which a second set of weights follows the trained ones; None without one.

    Args:
        experiment: The experiment.
        images: Number of training images.
    """
    parameters = experiment.train_parameters
    if lookahead := parameters.lookahead:
        lengths = experiment.lengths(images)
        start, total = lengths(lookahead.start), parameters.resolved_schedule().total(lengths)
        return Lookahead(lookahead.interval, lookahead.decay, lookahead.power, start, total)
    return MovingAverage(parameters.ema_decay) if parameters.ema_decay else None
