"""The one exception type that the command line turns into a single line instead of a traceback."""

import sys
import traceback


class CifarzooError(Exception):
    """Something a person can put right: bad input, a missing file, an interrupted run.

    The message says what was given, what would fit, and where.
    """


class DataError(CifarzooError):
    """A data set is missing, truncated or corrupt."""


class ExperimentError(CifarzooError):
    """An experiment's description does not fit together."""


class ModelError(CifarzooError, ValueError):
    """A model name or a model's argument that does not exist or does not fit."""


class WeightsError(CifarzooError):
    """A weight file is missing, damaged or made for another model."""


class CheckpointError(CifarzooError):
    """A checkpoint cannot be written or read, or belongs to another experiment."""


class InUseError(CheckpointError):
    """Another process trains in the folder."""


class TrainingError(CifarzooError):
    """Training cannot go on, for example because the loss is not finite."""


def one_line(failure: Exception) -> str:
    """What to tell a person of any exception; `--debug` on the command line prints the traceback of foreign ones."""
    if isinstance(failure, CifarzooError):
        return str(failure)
    if "--debug" in sys.argv:
        traceback.print_exception(failure)
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return f"{type(failure).__name__}: {lines[0] if lines else 'no message'} (--debug shows where)"
