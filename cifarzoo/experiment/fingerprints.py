"""Which settings of an experiment affect results: what its fingerprint hashes."""

from typing import Any

from cifarzoo.experiment.differences import differing_keys
from cifarzoo.strict_model import Strict

# Neither where a run computes nor where it writes matters: the distribution and the engine change only rounding.
FREE: tuple[str, ...] = (
    "description",
    "seeds",
    "seeds_at_once",
    "skip_error_test",
    "data_dir",
    "distribution",
    "backend",
    "xla",
)
FREE_PARAMETERS: tuple[str, ...] = (
    "logdir",
    "checkpoint_interval",
    "steps_per_call",
    "eval_batch_size",
    "train_metrics",
)
# Sections whose keys at their default are left out. Those of older runs are hashed as a whole.
SECTIONS: tuple[str, ...] = ("teacher",)
PARAMETER_SECTIONS: tuple[str, ...] = ("optimizer", "keep", "early_stopping", "pruning")

# What `precision: auto` becomes when a run starts.
AUTO_PRECISIONS: tuple[str, ...] = ("float32", "bfloat16")


def fingerprints(experiment: Any) -> set[str]:
    """Return the fingerprints that the runs of an `Experiment` may have: one, or two with `precision: auto`."""
    precisions = AUTO_PRECISIONS if experiment.precision == "auto" else (experiment.precision,)
    return {experiment.model_copy(update={"precision": precision}).fingerprint() for precision in precisions}


def decisive_differences(earlier: Any, now: Any) -> list[str]:
    """Return the dotted keys at which two `Experiment`s have different values that affect results."""
    if now.precision == "auto" and earlier.precision in AUTO_PRECISIONS:
        now = now.model_copy(update={"precision": earlier.precision})
    return differing_keys(decisive(earlier), decisive(now))


def decisive(experiment: Any) -> dict[str, Any]:
    """Return every setting of an `Experiment` that affects results, as plain data.

    Keys at their default are left out, in sections, too, so that a new key with a default leaves old runs valid.
    """
    document, default = experiment.resolved(), type(experiment).model_construct(model="").resolved()
    parameters, usual = document["train_parameters"], default["train_parameters"]
    if isinstance(experiment.dataset, Strict):
        document["dataset"] = experiment.dataset.decisive()  # type: ignore[attr-defined]
    for settings, section, keys in (
        (document, experiment, SECTIONS),
        (parameters, experiment.train_parameters, PARAMETER_SECTIONS),
    ):
        for key in keys:
            if (value := getattr(section, key)) is not None:
                settings[key] = value.model_dump(mode="json", exclude_defaults=True)
    if parameters["keep"]:
        parameters["keep"].pop("at_most", None)
    for settings, keys, defaults in ((document, FREE, default), (parameters, FREE_PARAMETERS, usual)):
        for key in keys:
            settings.pop(key)
        for key in [key for key, value in settings.items() if value == defaults[key]]:
            settings.pop(key)
    return document
