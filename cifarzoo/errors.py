"""The one exception type that the command line turns into a single line instead of a traceback."""


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


class TrainingError(CifarzooError):
    """Training cannot go on, for example because the loss is not finite."""
