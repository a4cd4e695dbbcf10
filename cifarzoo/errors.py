"""The exceptions that a user can act on; the command line prints each as one line, without a traceback."""

import traceback


class CifarzooError(Exception):
    """A problem that the user can fix: bad input, a missing file, an interrupted run.

    The message is one line: what was received, what is valid, and where. What a damaged file put into it, such as
    control characters or a name of 60,000 letters, is escaped or cut.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class DataError(CifarzooError):
    """A data set is missing, truncated or corrupt."""


class ExperimentError(CifarzooError):
    """The settings of an experiment are invalid or contradict each other."""


class MistakesError(ExperimentError):
    """Several mistakes in one file: a line for each."""

    def __str__(self) -> str:
        return "\n".join(map(one_line, Exception.__str__(self).split("\n")))


class ModelError(CifarzooError, ValueError):
    """A model name or a model argument does not exist or is invalid."""


class WeightsError(CifarzooError):
    """A weight file is missing, damaged or belongs to another model."""


class CheckpointError(CifarzooError):
    """A checkpoint cannot be written or read, or belongs to another experiment."""


class InUseError(CheckpointError):
    """Another process is training in the run's folder."""


class TrainingError(CifarzooError):
    """Training cannot continue, for example because the loss is not finite."""


def printable(text: str) -> str:
    """Return the text on one line, with control characters as Python writes them: none can move a terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


LONGEST_LINE = 2000


def one_line(text: str) -> str:
    """Return a printable line of at most 2,000 characters; a longer one loses its middle."""
    line = printable(text)
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[: half - 2]} … {line[1 - half :]}"


# The command line's --debug: False or True, and None when Python code calls the package.
_debug: bool | None = None


def set_debug(debug: bool) -> None:
    """Tell `summarize` that it runs under the command line, with or without `--debug`."""
    global _debug
    _debug = debug


def summarize(error: Exception) -> str:
    """Return one line about an exception; of a `MistakesError`, one line per mistake.

    A `CifarzooError` gives its message, any other exception its type and the first line of its message, and neither
    has control characters. Under the command line the traceback of the latter is printed with `--debug`, and the line
    mentions that option without it.
    """
    if isinstance(error, MistakesError):
        return "\n".join(one_line(line) for line in str(error).split("\n"))
    if isinstance(error, CifarzooError):
        return one_line(str(error))
    if _debug:
        traceback.print_exception(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    hint = " (--debug shows where)" if _debug is False else ""
    return one_line(f"{type(error).__name__}: {lines[0] if lines else 'no message'}") + hint
