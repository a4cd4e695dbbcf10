"""Pickles of tensors: `cifarzoo.pickled` with the errors of weight files."""

from collections.abc import Callable, Mapping
from typing import Any

from cifarzoo.errors import WeightsError
from cifarzoo.pickled import DamagedPickleError, PickleError, StandIn, Unpickler


def damaged(what: str) -> WeightsError:
    """Return the error for a pickle that no program writes."""
    return WeightsError(f"damaged: the pickle {what}")


def _refusal(verb: str, name: str) -> WeightsError:
    return WeightsError(f"{verb} {name}, which is not a tensor")


class TensorUnpickler(Unpickler):
    """Runs the instructions of the pickles of one file.

    Args:
        stand_ins: As for `Unpickler`.
        persistent: Returns what a persistent id stands for.
    """

    def __init__(self, stand_ins: Mapping[str, StandIn | None], persistent: Callable[[Any], Any] | None = None):
        super().__init__(stand_ins, _refusal, persistent)

    def load(self, file: Any) -> Any:
        """Return the object of the pickle at the position of a binary file, and move to the end of the pickle.

        Raises:
            WeightsError: the pickle is damaged, takes too long, or contains something that is not in the table.
        """
        try:
            return super().load(file)
        except WeightsError:
            raise
        except DamagedPickleError as failure:
            raise damaged(str(failure)) from None
        except PickleError as failure:
            raise WeightsError(f"its pickle {failure}") from None
        except Exception as failure:  # damage makes pickletools raise many kinds of exceptions
            raise damaged(f"cannot be read ({type(failure).__name__}: {failure!s:.80})") from None
