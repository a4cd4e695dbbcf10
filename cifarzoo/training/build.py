"""Build the parts that an experiment describes: model, augmentation, loss, optimizer, averaging.

The schema is data and knows no Keras; engines take the parts and know no schema. This module is the bridge.
"""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from cifarzoo.augment import pipeline
from cifarzoo.data import Dataset
from cifarzoo.data.info import CIFAR_INPUTS, DatasetInfo, Inputs
from cifarzoo.errors import ExperimentError, ModelError, WeightsError, summarize
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.layer_names import names_from_the_start
from cifarzoo.keras_internals.model_building import fast_model_building
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.models import registry
from cifarzoo.pretrained.description import attach_description, description_of
from cifarzoo.pretrained.loading import initialize
from cifarzoo.training.averaging import Lookahead, MovingAverage
from cifarzoo.training.losses import LOSSES
from cifarzoo.training.optimizers.build import build_rule
from cifarzoo.training.optimizers.rule import Rule
from cifarzoo.training.parts import Parts
from cifarzoo.training.pruning import Pruning
from cifarzoo.training.sources import initial_weights
from cifarzoo.training.teacher import Teacher
from cifarzoo.user_code import no_exit, user_module


def build_parts(
    experiment: Experiment,
    dataset: Dataset | DatasetInfo,
    plan: Plan,
    model: keras.Model | None = None,
    teacher: Teacher | None = None,
) -> Parts:
    """Build everything an engine needs except the model, which it builds itself in its own scope.

    Args:
        experiment: The experiment, as `resolve_auto` returns it.
        dataset: The data set, or its sizes.
        plan: The experiment's plan.
        model: The user's own model, of which every engine trains a copy; by default the experiment names the model.
        teacher: What `build_teacher` returns.

    Raises:
        ExperimentError: an entry of `augmentation` does not fit.
    """
    parameters = experiment.train_parameters
    return Parts(
        build_model=functools.partial(build_model, experiment, dataset.classes, inputs=dataset.inputs)
        if model is None
        else functools.partial(copy_model, model),
        augment=build_augmentation(experiment, dataset),
        loss=LOSSES[parameters.loss],
        label_smoothing=parameters.label_smoothing,
        teacher=teacher,
        optimizer=build_optimizer(experiment),
        averaging=build_averaging(experiment, plan),
        pruning=build_pruning(experiment, plan),
        batch_size=parameters.batch_size,
        accumulate=parameters.accumulate,
        sam_rho=parameters.sam_rho,
        image_size=plan.image_size,
        max_steps_per_call=parameters.longest_call,
        eval_batch_size=parameters.eval_batch_size,
        train_split=experiment.train_split,
        precision=experiment.precision,
        distribution=experiment.distribution,
        jit_compile=experiment.xla,
        compilation_cache=Path(parameters.logdir) / "compiled",
    )


def build_model(experiment: Experiment, classes: int, seed: int, inputs: Inputs = CIFAR_INPUTS) -> keras.Model:
    """Build the model with fresh weights drawn from `seed`, in the experiment's precision.

    With `init_weights` the weights come from that file or tag (see `initial_weights`). If the
    file's number of classes differs, the classifier stays fresh.

    Args:
        experiment: The experiment.
        classes: Number of classes of the data set.
        seed: The seed.
        inputs: Size and statistics of the data set's images. A function of the user's own module normalizes itself,
            and takes `image_size` if it has such an argument.

    Raises:
        ExperimentError: the model does not have one output per class, or takes images of another size; or an argument
            does not fit.
        ModelError: no such model or module. WeightsError: `init_weights` is missing or does not fit.
    """
    keras.utils.set_random_seed(seed)
    with arithmetic(experiment.precision), no_exit(experiment.model), names_from_the_start():
        factory = model_factory(experiment)
        of_images = _image_arguments(experiment, factory, inputs)
        try:
            model = factory(**{"classes": classes} | of_images | experiment.model_parameters)
        except ModelError as failure:
            raise ModelError(f"model_parameters: {failure}") from None
    if experiment.module:
        check_is_functional(model, f"{experiment.module}.{experiment.model}")
    if (outputs := model.output_shape[-1]) != classes:
        raise ExperimentError(
            f"model_parameters: {experiment.model} has {outputs} outputs, "
            f"{experiment.dataset_name} has {classes} classes"
        )
    shape, size = tuple(model.inputs[0].shape[1:]), inputs.size
    if len(shape) != 3 or any(a not in (None, b) for a, b in zip(shape, (size, size, 3), strict=True)):
        raise ExperimentError(
            f"model: {experiment.model} takes images of the shape {shape}, those of {experiment.dataset_name} have "
            f"({size}, {size}, 3)"
        )
    if weights := initial_weights(experiment, seed):
        try:
            initialize(model, weights, registry.build_described)
        except WeightsError as failure:
            raise WeightsError(f"init_weights: {failure}") from None
    return model


def _image_arguments(experiment: Experiment, factory: Callable, inputs: Inputs) -> dict[str, Any]:
    """Return the arguments that tell a factory about the images, where they differ from its defaults."""
    arguments: dict[str, Any] = {} if inputs.size == CIFAR_INPUTS.size else {"image_size": inputs.size}
    if experiment.module is None:
        # 20 classes do not say which images they are; of 100 and 10, the registry knows it.
        statistics = "cifar100" if experiment.dataset == "cifar100_coarse" else inputs.statistics
        return arguments | ({"statistics": statistics} if statistics else {})
    parameters = inspect.signature(factory).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return arguments if takes_all or "image_size" in {parameter.name for parameter in parameters} else {}


def check_is_functional(model: object, source: str) -> None:
    """Check that the engines can train a model: it is functional or Sequential, built, and has one input.

    Raises:
        ModelError: the model is of another kind.
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"{source}: returns {type(model).__name__}, not a Keras model")
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise ModelError(
            f"{source}: {type(model).__name__} is a subclassed or unbuilt model; expected a functional or built "
            "Sequential one with one input"
        )


def copy_model(model: keras.Model, seed: int) -> keras.Model:
    """Copy a functional or Sequential model with its weights; random layers draw from `seed`.

    Raises:
        ModelError: Keras cannot copy the model.
    """
    keras.utils.set_random_seed(seed)
    try:
        with fast_model_building():
            copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    except Exception as failure:  # whatever the layers of a user's own model raise
        raise ModelError(f"{model.name}: Keras cannot copy this model ({summarize(failure)})") from None
    if description := description_of(model):
        attach_description(copy, description)
    return copy


def model_factory(experiment: Experiment):
    """Return the function that builds the model: a factory of the zoo, or one from the user's own `module`.

    Raises:
        ExperimentError: `model_parameters` has a key that only the runner sets, or the model came from Python.
        ModelError: no such model or module.
    """
    if experiment.in_memory and experiment.in_memory.model:
        raise ExperimentError(
            f"{experiment.location}: the model was passed to cifarzoo.train from Python, so only Python can build it; "
            "load the run's final.weights.h5 into it there"
        )
    if experiment.module is None:
        for key in experiment.model_parameters:
            if key in registry.COMMON_ARGUMENTS and key != "statistics":
                raise ExperimentError(
                    f"model_parameters.{key}: the runner sets it; here are arguments of the architecture only"
                )
        return registry.get(experiment.model).factory
    module = user_module(experiment.module, "module", ModelError)
    if not callable(factory := getattr(module, experiment.model, None)):
        raise ModelError(f"model: {experiment.module} has no function {experiment.model!r}")
    return factory


def build_augmentation(experiment: Experiment, dataset: Dataset | DatasetInfo) -> pipeline.Pipeline:
    """Build the function on a batch that `augmentation` describes.

    Raises:
        ExperimentError: an entry does not fit.
    """
    try:
        built = pipeline.build(experiment.augmentation, dataset.classes, dataset.mean_color)
    except ExperimentError as failure:
        raise ExperimentError(f"{experiment.location}: {failure}") from None
    for augmentation in built.specs:
        if problem := augmentation.misfit(dataset.inputs.size):
            raise ExperimentError(f"{experiment.location}: augmentation: {augmentation.name}: {problem}")
    return built


def build_optimizer(experiment: Experiment) -> Rule:
    """Build the update rule.

    Raises:
        ExperimentError: `optimizer` does not name an optimizer, or one of its arguments does not fit.
        ModelError: its module calls `sys.exit`.
    """
    try:
        with no_exit(f"{experiment.location}: train_parameters.optimizer"):
            return build_rule(experiment.train_parameters)
    except ExperimentError as failure:
        raise ExperimentError(f"{experiment.location}: {failure}") from None


def build_averaging(experiment: Experiment, plan: Plan) -> MovingAverage | Lookahead | None:
    """Build the rule by which a second set of weights follows the trained ones; None without one."""
    parameters = experiment.train_parameters
    if lookahead := parameters.lookahead:
        start = experiment.lengths(plan.images)(lookahead.start)
        return Lookahead(lookahead.interval, lookahead.decay, lookahead.power, start, plan.total)
    return MovingAverage(parameters.ema_decay, parameters.ema_warmup) if parameters.ema_decay else None


def build_pruning(experiment: Experiment, plan: Plan) -> Pruning | None:
    """Build the schedule by which kernels become sparse; None without pruning."""
    parameters = experiment.train_parameters.pruning
    if parameters is None or plan.pruning is None:
        return None
    return Pruning(parameters.sparsity, parameters.initial_sparsity, plan.pruning, tuple(parameters.exclude))
