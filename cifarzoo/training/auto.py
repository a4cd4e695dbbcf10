"""What an experiment's `auto` stands for on the device at hand: its precision, and the length of its compiled calls."""

import contextlib
from collections.abc import Iterable

from cifarzoo.data.dataset import IMAGES
from cifarzoo.errors import CifarzooError, ModelError
from cifarzoo.models.catalogue import find
from cifarzoo.training.experiment import LONGEST_CALL, Experiment
from cifarzoo.training.precision import bfloat16_is_fast
from cifarzoo.training.reading import run_experiment, run_folder

# A processor's calls are so long that it stops, when asked to, after about ten seconds.
CALL_OPERATIONS = 10 * 1e11  # of training, at what two cores reach


def settled(experiment: Experiment, seeds: Iterable[int]) -> Experiment:
    """The experiment with every `auto` replaced.

    `precision` becomes bfloat16 where that is known to be fast, else float32; `steps_per_call` an epoch on an
    accelerator and some ten seconds of arithmetic on a processor.

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


def _steps_per_call(experiment):
    batch_size = experiment.train_parameters.batch_size
    if on_accelerator(experiment):
        return -(-IMAGES[experiment.train_split] // batch_size)
    try:
        macs = find(experiment.model).macs["100" if experiment.dataset == "cifar100" else "10"]
    except ModelError:  # of the user's own module
        return LONGEST_CALL
    return min(LONGEST_CALL, max(1, round(CALL_OPERATIONS / experiment.operations(macs, batch_size))))
