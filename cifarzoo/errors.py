"""The exceptions that a user can act on; the command line prints each as one line, without a traceback."""

import re
import traceback


class CifarzooError(Exception):
    """A problem that the user can fix: bad input, a missing file, an interrupted run.

    The message is one line: what was received, what is valid, and where. Control characters are escaped and long text
    is cut, because a damaged file may put them into the message.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class DataError(CifarzooError):
    """A data set is missing, truncated or corrupt."""


class ExperimentError(CifarzooError):
    """The settings of an experiment are invalid or contradict each other."""


class MistakesError(ExperimentError):
    """Several mistakes in one file, one line each."""

    def __str__(self) -> str:
        return "\n".join(map(one_line, Exception.__str__(self).split("\n")))


class ModelError(CifarzooError, ValueError):
    """A model name or a model argument does not exist or is invalid."""


class WeightsError(CifarzooError):
    """A weight file is missing, damaged or belongs to another model."""


class ExportError(CifarzooError):
    """A model cannot be written in a format, or the file computes something else."""


class ClusterError(CifarzooError):
    """A cluster does not answer, or cannot run what it is asked to."""


class UnreachableError(WeightsError):
    """The server of a weight file does not answer."""


class CheckpointError(CifarzooError):
    """A checkpoint cannot be written or read, or belongs to another experiment."""


class InUseError(CheckpointError):
    """Another process is training in the run's folder."""


class TrainingError(CifarzooError):
    """Training cannot continue, for example because the loss is not finite."""


def printable(text: str) -> str:
    """Return the text on one line, with control characters escaped as in Python, so that none can affect a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


LONGEST_LINE = 2000


def one_line(text: str) -> str:
    """Return a printable line of at most 2,000 characters; the middle of a longer line is cut."""
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
    """Describe an exception in one line; a `MistakesError` in one line per mistake.

    For a `CifarzooError` that is its message, for any other exception its type and the first line of its message,
    without control characters; where Keras says there in which layer it happened, also the next line, which says what.
    Under the command line, `--debug` prints the traceback of other exceptions; without it,
    the line mentions the option.
    """
    if isinstance(error, MistakesError):
        return "\n".join(one_line(line) for line in str(error).split("\n"))
    if isinstance(error, CifarzooError):
        return one_line(str(error))
    if _debug:
        traceback.print_exception(error)
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]
    if lines and lines[0].startswith("Exception encountered when calling "):
        lines = [": ".join([lines[0].rstrip("."), *lines[1:2]])]
    hint = " (--debug shows where)" if _debug is False else ""
    return one_line(f"{type(error).__name__}: {lines[0] if lines else 'no message'}") + hint
