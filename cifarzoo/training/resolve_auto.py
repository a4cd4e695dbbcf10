"""What an experiment's `auto` stands for on the device at hand: its precision, and the length of its compiled calls."""

import contextlib
import math
from collections.abc import Iterable

from cifarzoo.data.splits import IMAGES
from cifarzoo.errors import CifarzooError, ModelError
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import LONGEST_CALL, Experiment
from cifarzoo.hardware import accelerator_name, bfloat16_is_fast
from cifarzoo.models.catalogue import find
from cifarzoo.runs.folder import RunFolder

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
    precision = "bfloat16" if bfloat16_is_fast(experiment.distribution) else "float32"
    for folder in (RunFolder.of(experiment, seed) for seed in seeds):
        if folder.has_started:
            with contextlib.suppress(CifarzooError):  # the run itself says what is wrong with it
                precision = folder.experiment().precision
                break
    return experiment.model_copy(update={"precision": precision})


def on_accelerator(experiment: Experiment) -> bool:
    """Whether the experiment would train on a GPU or TPU."""
    return experiment.distribution == "tpu" or accelerator_name() is not None


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
    if not on_accelerator(experiment):
        return _at_most(LONGEST_CALL, PROCESSORS_CALL / experiment.operations(macs, batch_size))
    images = IMAGES[experiment.train_split]
    longest = _at_most(-(-images // batch_size), ACCELERATORS_CALL / experiment.operations(macs, batch_size))
    try:
        return _dividing(Plan(experiment, images), longest)
    except CifarzooError:  # the run itself says what is wrong with it
        return longest


def _at_most(longest, steps):
    return min(longest, max(1, round(steps)))


def _dividing(plan, longest):
    """The greatest length of calls up to `longest` that no interval of the plan cuts short.

    Calls of one length are one program whose number of steps is known to the compiler. Where only short ones fit, the
    other program, of any number of steps, is the better one.
    """
    shared = math.gcd(*(interval for interval in (plan.log, plan.val, plan.checkpoint) if interval < plan.total))
    fitting = [length for length in range(1, longest + 1) if shared % length == 0]
    return fitting[-1] if fitting[-1] >= longest / 4 else longest
