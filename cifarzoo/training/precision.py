"""Where bfloat16 is fast, and where it is slow."""

import re
from pathlib import Path

from cifarzoo.experiment.schema import Experiment

# Names in /proc/cpuinfo of instructions that multiply bfloat16 numbers: x86's and Arm's.
BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
# Of the first NVIDIA GPUs with arithmetic for it.
BFLOAT16_CAPABILITY = (8, 0)


def bfloat16_is_fast(experiment: Experiment) -> bool | None:
    """Whether the device that an experiment would train on has arithmetic for bfloat16; None if that is not known."""
    import keras

    if experiment.distribution == "tpu":
        return True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if gpus := tf.config.list_physical_devices("GPU"):
            return _is_capable(tf.config.experimental.get_device_details(gpus[0]).get("compute_capability"))
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        if device.platform != "cpu":
            capability = getattr(device, "compute_capability", None)  # "9.0"; TPUs have none
            return device.platform == "tpu" or _is_capable(capability and tuple(map(int, capability.split("."))))
    try:
        return multiplies_bfloat16(Path("/proc/cpuinfo").read_text())
    except OSError:
        return None


def _is_capable(capability):
    return None if capability is None else tuple(capability) >= BFLOAT16_CAPABILITY


def multiplies_bfloat16(cpuinfo: str) -> bool | None:
    """Whether /proc/cpuinfo names instructions for bfloat16; None if it names no instructions at all."""
    names = re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return bool(BFLOAT16_INSTRUCTIONS & set(names[0].split())) if names else None


def slow_precision(experiment: Experiment) -> str | None:
    """A line for a person whose experiment asks for bfloat16 where it is far slower than float32, else None."""
    if experiment.precision != "bfloat16" or bfloat16_is_fast(experiment) is not False:
        return None
    return (
        f"{experiment.location}: precision bfloat16 will be many times slower than float32 here, as there are no "
        "instructions for it; `precision: auto` takes the faster one"
    )
