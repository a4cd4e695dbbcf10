"""In which precision an experiment trains here: what `precision: auto` stands for, and where bfloat16 is slow."""

import contextlib
import re
from pathlib import Path

from cifarzoo.errors import CifarzooError
from cifarzoo.training.experiment import Experiment
from cifarzoo.training.provenance import device_name, processor_name
from cifarzoo.training.reading import run_experiment, run_folder

# Names in /proc/cpuinfo of instructions that multiply bfloat16 numbers: x86's and Arm's.
BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}


def settled(experiment: Experiment) -> Experiment:
    """The experiment with `precision: auto` replaced by bfloat16, or by float32 where that is the faster one.

    A run that is half done keeps the precision that it was begun with.
    """
    if experiment.precision != "auto":
        return experiment
    precision = "float32" if bfloat16_is_slow() else "bfloat16"
    begun = (run_folder(experiment, seed) for seed in experiment.seeds)
    for folder in begun:
        if (folder / "config.yaml").is_file():
            with contextlib.suppress(CifarzooError):  # the run itself says what is wrong with it
                precision = run_experiment(folder).precision
                break
    return experiment.model_copy(update={"precision": precision})


def bfloat16_is_slow() -> bool:
    """Whether training runs on a processor without instructions for bfloat16."""
    if device_name() != processor_name():
        return False
    try:
        return not multiplies_bfloat16(Path("/proc/cpuinfo").read_text())
    except OSError:
        return False


def multiplies_bfloat16(cpuinfo: str) -> bool:
    """Whether /proc/cpuinfo names instructions for bfloat16; True if it names none at all."""
    names = re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return not names or bool(BFLOAT16_INSTRUCTIONS & set(names[0].split()))


def slow_precision(experiment: Experiment) -> str | None:
    """A line for a person whose experiment asks for bfloat16 where it is far slower than float32, else None."""
    if experiment.precision != "bfloat16" or not bfloat16_is_slow():
        return None
    return (
        f"{experiment.place}: precision bfloat16 will be many times slower than float32 here, as the processor has no "
        "instructions for it; `precision: auto` takes the faster one"
    )
