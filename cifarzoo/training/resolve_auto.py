"""Replace `auto` with this device's precision and number of steps per compiled call."""

import contextlib
import functools
import logging
import math
from collections.abc import Iterable

from cifarzoo.errors import CifarzooError, ModelError
from cifarzoo.experiment.fingerprints import AUTO_PRECISIONS
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.resizing import FULL_SIZE
from cifarzoo.experiment.schema import Experiment
from cifarzoo.experiment.train_parameters import LONGEST_CALL
from cifarzoo.hardware import accelerator_name, bfloat16_fault, bfloat16_is_fast
from cifarzoo.models.catalogue import catalogue, find
from cifarzoo.pretrained.manifest import find_entry, manifest
from cifarzoo.runs.folder import RunFolder

logger = logging.getLogger("cifarzoo")

# A run stops, when asked to, at the end of a call. These are the operations of training that two cores and a small
# accelerator do in about ten seconds.
CPU_CALL, ACCELERATOR_CALL = 10 * 1e11, 10 * 1e13


def resolve_auto(experiment: Experiment, seeds: Iterable[int], images: int, full_size: int = FULL_SIZE) -> Experiment:
    """Return the experiment with `auto` replaced in `precision` and `steps_per_call`.

    `precision` becomes bfloat16 where that is known to be fast, else float32; also float32, with a warning, where
    bfloat16 gives wrong results. `steps_per_call` becomes about ten seconds of arithmetic, but at most an epoch on an
    accelerator and 50 steps on a processor.

    A run that has started keeps its precision, if that is one of the two. If several seeds train together, the first
    one that has started decides.

    Args:
        experiment: The experiment.
        seeds: Those that train together.
        images: Number of training images.
        full_size: Their height and width.
    """
    parameters = experiment.train_parameters
    if parameters.steps_per_call == "auto":
        parameters = parameters.model_copy(update={"steps_per_call": _steps_per_call(experiment, images, full_size)})
        experiment = experiment.model_copy(update={"train_parameters": parameters})
    if experiment.precision != "auto":
        return experiment
    precision = "bfloat16" if bfloat16_is_fast(experiment.distribution) and _bfloat16_is_right() else "float32"
    for folder in (RunFolder.of(experiment, seed) for seed in seeds):
        if folder.has_started:
            with contextlib.suppress(CifarzooError):  # the run itself says what is wrong with it
                earlier = folder.experiment().precision
                precision = earlier if earlier in AUTO_PRECISIONS else precision
                break
    return experiment.model_copy(update={"precision": precision})


@functools.cache
def _bfloat16_is_right():
    """Return whether bfloat16 gives right results here; the first call warns if not."""
    if fault := bfloat16_fault():
        logger.warning("%s: `precision: auto` means float32 here", fault)
    return not fault


def on_accelerator(experiment: Experiment) -> bool:
    """Whether the experiment would train on a GPU or TPU."""
    return experiment.distribution == "tpu" or accelerator_name() is not None


def catalogued_macs(experiment: Experiment) -> int:
    """Return the multiply-accumulates per image of the experiment's factory with its default arguments.

    Raises:
        ModelError: the model is not one of the zoo.
    """
    return find(experiment.model).macs["100" if experiment.dataset == "cifar100" else "10"]


def _steps_per_call(experiment, images, full_size):
    batch_size = experiment.train_parameters.batch_size
    try:
        macs = catalogued_macs(experiment) * (full_size / FULL_SIZE) ** 2
    except ModelError:  # of the user's own module
        return LONGEST_CALL
    operations = experiment.operations(macs, batch_size)
    if experiment.teacher and not experiment.teacher.views:
        teacher_macs = _teacher_macs(experiment) * (full_size / FULL_SIZE) ** 2
        operations += experiment.teacher.operations(teacher_macs, 1, batch_size, images)
    if not on_accelerator(experiment):
        return _at_most(LONGEST_CALL, CPU_CALL / operations)
    longest = _at_most(-(-images // batch_size), ACCELERATOR_CALL / operations)
    try:
        return _dividing(Plan(experiment, images, full_size), longest)
    except CifarzooError:  # `prepare` says what is wrong with it
        return longest


def _teacher_macs(experiment):
    """Return the multiply-accumulates of the teachers that are published weights or networks of the zoo."""
    entries = {name: find_entry(name, manifest()) for name in experiment.teacher.names}
    models = (entry.model if entry else name for name, entry in entries.items())
    classes = "100" if experiment.dataset == "cifar100" else "10"
    return sum(record.macs[classes] for name in models if (record := catalogue().get(name)))


def _at_most(longest, steps):
    return min(longest, max(1, round(steps)))


def _dividing(plan, longest):
    """Return the greatest length of calls up to `longest` that no interval of the plan cuts short.

    Calls of one length are one program whose number of steps the compiler knows. Where only short ones fit, the other
    program, of any number of steps, is better.
    """
    intervals = (plan.log, plan.val, plan.checkpoint, plan.kept.interval or plan.total)
    shared = math.gcd(*(interval for interval in intervals if interval < plan.total))
    lengths = [length for length in range(1, longest + 1) if shared % length == 0]
    return lengths[-1] if lengths[-1] >= longest / 4 else longest
