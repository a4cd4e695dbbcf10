"""A Keras 3 model zoo for CIFAR-10 and CIFAR-100, and the runner that trained it.

    from cifarzoo import cifar_resnet164, create_model, list_models

Importing this package imports neither Keras nor TensorFlow; the first use of a model does.
"""

import os
import sys
from importlib.util import find_spec

from cifarzoo._version import __version__ as __version__
from cifarzoo.keras_internals.quiet_start import install as _hide_start_up_messages

# TensorFlow turns oneDNN on by itself on some processors only; on others it trains at half the speed without.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_hide_start_up_messages()

if "ipykernel" in sys.modules:
    from cifarzoo.notebook import log_on_stdout as _log_on_stdout

    _log_on_stdout()

# Keras' own default, TensorFlow, would end in its traceback.
if not find_spec("tensorflow") and find_spec("jax"):
    os.environ.setdefault("KERAS_BACKEND", "jax")

# Public names that are not models: name -> module and name there. Type checkers know them from __init__.pyi, which
# `python -m cifarzoo.models.generate` writes.
FUNCTIONS = {
    "create_model": ("cifarzoo.models.registry", "create_model"),
    "list_models": ("cifarzoo.models.registry", "list_models"),
    "load": ("cifarzoo.models.load", "load"),
    "load_data": ("cifarzoo.data", "load"),
    "Dataset": ("cifarzoo.data", "Dataset"),
    "Experiment": ("cifarzoo.experiment.schema", "Experiment"),
    "read_experiments": ("cifarzoo.experiment.files", "read_experiments"),
    "run_all": ("cifarzoo.training.runner", "run_all"),
    "fold_batch_norm": ("cifarzoo.inference.fold", "fold_batch_norm"),
    "evaluate": ("cifarzoo.evaluation.evaluate", "evaluate_named"),
    "features": ("cifarzoo.inference.features", "features"),
    "grad_cam": ("cifarzoo.inference.explain", "grad_cam"),
    "predict": ("cifarzoo.inference.predict", "predict"),
    "average_weights": ("cifarzoo.evaluation.average", "average_weights"),
    "save_weights": ("cifarzoo.pretrained.description", "save_weights"),
    "export": ("cifarzoo.exporting.export", "export"),
    "train": ("cifarzoo.training.train", "train"),
}


def _public() -> dict[str, tuple[str, str]]:
    """Every lazy public name: its module and its name there."""
    from cifarzoo.models.catalogue import catalogue

    factories = {name: (f"cifarzoo.models.{record.family}", name) for name, record in catalogue().items()}
    return FUNCTIONS | factories


def __getattr__(name: str):
    if name.startswith("_"):
        if name == "__all__":
            return sorted(_public())
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in (public := _public()):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; cifarzoo.list_models() lists the models")
    import importlib

    module, attribute = public[name]
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted(["__version__", *_public()])
