"""The device that the active Keras backend computes on: its name, its precisions, its float32 products."""

import contextlib
import functools
import os
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Instructions that multiply bfloat16 numbers, as /proc/cpuinfo names them: x86's, then Arm's.
BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
# The compute capability of the first NVIDIA GPUs that multiply bfloat16 numbers.
BFLOAT16_CAPABILITY = (8, 0)


def accelerator_name() -> str | None:
    """Return the driver's name for the first GPU or TPU of the active backend, or None on a CPU."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for accelerator in tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_device_details(accelerator).get("device_name", accelerator.name)
        if tf.config.list_physical_devices("TPU"):
            return "TPU"
    if keras.backend.backend() == "jax":
        import jax

        if (device := jax.devices()[0]).platform != "cpu":
            return device.device_kind
    return None


def device_name(replicas: int = 1) -> str:
    """Describe the devices in use: the accelerator and how many, or else the CPU and its usable cores."""
    name = accelerator_name()
    if name is None:
        return processor_name()
    return f"{replicas} x {name}" if replicas > 1 else name


def processor_name() -> str:
    """Return the system's name for the CPU, with the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"


def bfloat16_is_fast(distribution: str) -> bool | None:
    """Return whether the training device has bfloat16 arithmetic; None if that is unknown.

    Args:
        distribution: An experiment's `distribution`; "tpu" means a TPU, all others the active backend's first device.
    """
    import keras

    if distribution == "tpu":
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
        return multiplies_bfloat16(CPUINFO.read_text(encoding="utf-8"))
    except OSError:
        return None


def _is_capable(capability):
    return None if capability is None else tuple(capability) >= BFLOAT16_CAPABILITY


def multiplies_bfloat16(cpuinfo: str) -> bool | None:
    """Return whether the text of /proc/cpuinfo lists bfloat16 instructions; None if it lists no instructions."""
    names = re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return bool(BFLOAT16_INSTRUCTIONS & set(names[0].split())) if names else None


def slow_precision(precision: str, distribution: str) -> str | None:
    """Return a one-line warning if `precision` is bfloat16 and the device lacks instructions for it, else None."""
    if precision != "bfloat16" or bfloat16_is_fast(distribution) is not False:
        return None
    return (
        "precision bfloat16 will be many times slower than float32 here, because the device has no instructions for "
        "it; `precision: auto` picks the faster one"
    )


@functools.cache
def bfloat16_fault() -> str | None:
    """Return what is wrong, without a full stop, if bfloat16 programs compiled here give wrong results, else None.

    On processors, JAX 0.11.2 to 0.12.0.1 make one YNNPACK program of a reduction, such as pooling, and the ReLUs around
    it, and leave parts of its result unset. Most networks then return NaN, and VGG wrong numbers. Earlier versions,
    GPUs, float32 and uncompiled operations are right. This runs such a program, whose result is 2 everywhere.
    """
    import keras

    if keras.backend.backend() != "jax":
        return None
    import jax
    from jax import numpy as jnp

    if jax.devices()[0].platform != "cpu":
        return None
    pairs, others = jnp.ones((65_536, 2), jnp.bfloat16), jnp.ones(65_536, jnp.bfloat16)  # 2,048 numbers come out right
    result = jax.jit(lambda a, b: jnp.maximum(a.max(1) + jnp.maximum(b, 0), 0))(pairs, others)
    return None if (result == 2).all() else f"JAX {jax.__version__} computes bfloat16 wrongly on this processor"


@contextlib.contextmanager
def full_float32():
    """Disable TF32 in the context, so that measurements on GPUs use full float32 precision."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    elif backend == "tensorflow":
        from tensorflow.config import experimental

        enabled = experimental.tensor_float_32_execution_enabled()
        experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            experimental.enable_tensor_float_32_execution(enabled)
    else:  # torch, the only other backend that can predict
        import torch

        if not torch.cuda.is_available():
            yield
            return
        enabled, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = enabled
