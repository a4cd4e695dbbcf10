"""What a number must be read with: code revision, package versions, device."""

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

PACKAGES = ("cifarzoo", "keras", "tensorflow", "jax", "jaxlib", "numpy")
# Between the values of a run that has moved.
AND = " and "
# What of the checkout decides the numbers; tables that change whenever weights are published do not.
CODE = ("cifarzoo", "recipes", "experiments.yaml", "run_experiments.py", "pyproject.toml")


def provenance(replicas: int = 1) -> dict:
    """Git revision (with `+changes` if the code of the checkout differs from it), versions, backend and devices."""
    import keras

    return {
        "revision": _revision(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "backend": keras.backend.backend(),
        "device": device_name(replicas),
    }


def joined(earlier: dict, now: dict) -> dict:
    """The provenance of a run that was begun under one and went on under another: both values where they differ."""

    def both(a, b):
        if isinstance(a, dict) and isinstance(b, dict):
            return {key: both(a.get(key), b.get(key)) for key in a | b}
        if a is None or b is None:
            return b if a is None else a
        return a if b in a.split(AND) else f"{a}{AND}{b}"

    return both(earlier, now)


def device_name(replicas: int = 1) -> str:
    """The accelerators in use, if the backend has any, else the processor and the number of its usable cores."""
    name = _accelerator()
    if name is None:
        return processor_name()
    return f"{replicas} x {name}" if replicas > 1 else name


def _accelerator():
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


def processor_name() -> str:
    """The processor as the system names it, and its usable cores."""
    import os

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


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache  # of the code that this process has loaded
def _revision():
    folder = Path(__file__).resolve().parent
    if not (folder.parent.parent / ".git").exists():
        return None  # installed: a repository further up is somebody else's
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", *CODE],
            cwd=folder.parent.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+changes" if changes else "")
