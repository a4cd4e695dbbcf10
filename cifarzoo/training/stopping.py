"""Stop training on request, with everything saved."""

import contextlib
import signal
from typing import Any

from cifarzoo.errors import TrainingError


class Interrupted(TrainingError):
    """A person, the system or a deadline stopped the run; it has saved and can resume."""


class StopRequest:
    """Whether somebody has asked to stop. One request serves a whole batch of runs, so that none starts after it.

    Attributes:
        signal: Number of the signal that asked, None before any.
    """

    def __init__(self):
        self.signal = None
        self._stops_with_others = False

    def note_other_worker(self) -> None:
        """Record that another worker was asked to stop, and that this process stops with it.

        The signal may still reach this process later, even after the end of the batch; it is then ignored.
        """
        self._stops_with_others = self.signal is None

    @contextlib.contextmanager
    def on_signals(self):
        """While active, Ctrl-C and SIGTERM stop at the end of the compiled call; a second one stops at once."""
        handlers: list[tuple[int, Any]] = []
        is_active = True

        def restore():
            for number, handler in handlers:
                signal.signal(number, handler)

        def ask_to_stop(number, frame):
            if self.signal:
                raise KeyboardInterrupt
            self.signal = number
            if not is_active:
                restore()

        # Only the main thread can do this; code that runs a batch in another thread must handle signals itself.
        with contextlib.suppress(ValueError):
            handlers = [(number, signal.signal(number, ask_to_stop)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            yield self
        finally:
            is_active = False
            if self.signal or not self._stops_with_others:
                restore()
