"""What the active Keras backend computes on."""

import os
import platform
from pathlib import Path


def accelerator_name() -> str | None:
    """The first GPU or TPU of the active backend as its driver calls it, None if there is only the processor."""
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
    """The accelerators in use, if the backend has any, else the processor and the number of its usable cores."""
    name = accelerator_name()
    if name is None:
        return processor_name()
    return f"{replicas} x {name}" if replicas > 1 else name


def processor_name() -> str:
    """The processor as the system names it, and its usable cores."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
