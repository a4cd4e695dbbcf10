"""Stop training on request, with everything saved."""

import contextlib
import signal

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

    @contextlib.contextmanager
    def on_signals(self):
        """While active, Ctrl-C and SIGTERM stop at the end of the compiled call; a second one stops at once."""

        def ask_to_stop(number, frame):
            if self.signal:
                raise KeyboardInterrupt
            self.signal = number

        try:
            handlers = [(number, signal.signal(number, ask_to_stop)) for number in (signal.SIGINT, signal.SIGTERM)]
        except ValueError:  # not the main thread: whoever started it must handle signals
            handlers = []
        try:
            yield self
        finally:
            for number, handler in handlers:
                signal.signal(number, handler)
