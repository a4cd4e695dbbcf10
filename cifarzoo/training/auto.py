"""What an experiment's `auto` stands for on the device at hand: its precision, and the length of its compiled calls."""

import contextlib
from collections.abc import Iterable

from cifarzoo.data.dataset import IMAGES
from cifarzoo.errors import CifarzooError, ModelError
from cifarzoo.models.catalogue import find
from cifarzoo.training.experiment import LONGEST_CALL, Experiment
from cifarzoo.training.precision import bfloat16_is_fast
from cifarzoo.training.reading import run_experiment, run_folder

# Calls are so long that a run stops, when asked to, after about ten seconds: the operations of training that two cores
# and a small accelerator get done in these.
PROCESSORS_CALL, ACCELERATORS_CALL = 10 * 1e11, 10 * 1e13


def settled(experiment: Experiment, seeds: Iterable[int]) -> Experiment:
    """The experiment with every `auto` replaced.

    `precision` becomes bfloat16 where that is known to be fast, else float32; `steps_per_call` some ten seconds of
    arithmetic, but at most an epoch on an accelerator and 50 steps on a processor.

    A run that has been begun keeps its precision; of several seeds that train together, the first begun one decides.
    """
    parameters = experiment.train_parameters
    if parameters.steps_per_call == "auto":
        parameters = parameters.model_copy(update={"steps_per_call": _steps_per_call(experiment)})
        experiment = experiment.model_copy(update={"train_parameters": parameters})
    if experiment.precision != "auto":
        return experiment
    precision = "bfloat16" if bfloat16_is_fast(experiment) else "float32"
    for folder in (run_folder(experiment, seed) for seed in seeds):
        if (folder / "config.yaml").is_file():
            with contextlib.suppress(CifarzooError):  # the run itself says what is wrong with it
                precision = run_experiment(folder).precision
                break
    return experiment.model_copy(update={"precision": precision})


def on_accelerator(experiment: Experiment) -> bool:
    """Whether the experiment would train on a GPU or TPU."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return experiment.distribution == "tpu" or bool(tf.config.list_physical_devices("GPU"))
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    return False


def catalogued_macs(experiment: Experiment) -> int:
    """Multiply-accumulates of an image by the experiment's network with its default arguments, which is not built.

    Raises:
        ModelError: the network is not one of the zoo.
    """
    return find(experiment.model).macs["100" if experiment.dataset == "cifar100" else "10"]


def _steps_per_call(experiment):
    batch_size = experiment.train_parameters.batch_size
    try:
        macs = catalogued_macs(experiment)
    except ModelError:  # of the user's own module
        return LONGEST_CALL
    call, longest = PROCESSORS_CALL, LONGEST_CALL
    if on_accelerator(experiment):
        call, longest = ACCELERATORS_CALL, -(-IMAGES[experiment.train_split] // batch_size)
    return min(longest, max(1, round(call / experiment.operations(macs, batch_size))))
