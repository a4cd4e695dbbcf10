"""Show a run's progress: a bar on a terminal or in a notebook, otherwise one plain line per log interval.

The bar has two lines. Both fit a terminal of 60 columns or more: the run's name is shortened first, then the training
loss.
"""

import html
import sys
import time
from dataclasses import dataclass
from typing import Any

import keras
import rich.console
import rich.live
import rich.progress_bar
import rich.table
from rich.text import Text

from cifarzoo.errors import printable
from cifarzoo.experiment.plan import Plan
from cifarzoo.notebook import in_notebook

# Minimum seconds between two updates of a notebook's output, each of which the browser redraws.
NOTEBOOK_INTERVAL = 0.25
LONGEST_NAME = 32
SHORTEST_BAR = 10


def shortened(name: str, length: int) -> str:
    """Shorten a name in the middle, because the runs of a grid differ at the end."""
    if len(name) <= length:
        return name
    end = 2 * (length - 1) // 3
    return f"{name[: length - 1 - end]}…{name[len(name) - end :]}"


@dataclass
class RunProgress:
    """The progress of a run while it trains.

    Attributes:
        title: Name of the run and its seed.
        total: Steps of the whole run.
        step: Steps done.
        logs: The callback's latest logs.
        left: Seconds left, if known.
        validation: The last validation's error in percent, and its step.
    """

    title: str
    total: int
    step: int
    logs: dict[str, float]
    left: float | None = None
    validation: tuple[float, int] | None = None

    @property
    def rate(self) -> str:
        """Images per second."""
        return f"{self.logs['images_per_second']:,.0f} images/s" if self.logs else "compiling"

    def status(self) -> str:
        """The rate, the validation error (with its step if that is earlier), and the training loss."""
        parts = [self.rate]
        if self.validation:
            error, step = self.validation
            parts.append(f"val error {error:.2f} %" + (f" at step {step}" if step != self.step else ""))
        if self.logs:
            parts += [f"loss {self.logs['loss']:.3f}", f"error {self.logs['error']:.1f} %"]
        return "  ".join(parts)

    def __rich_console__(self, console: rich.console.Console, options: rich.console.ConsoleOptions) -> Any:
        """Draw two lines: name, bar, step and time left; then the status."""
        cells = [f"{self.step:>{len(str(self.total))}}/{self.total}", f"{clock(self.left):>7} left"]
        room = options.max_width - sum(len(cell) + 2 for cell in cells) - 2
        name = shortened(printable(self.title), max(8, min(LONGEST_NAME, room - SHORTEST_BAR)))
        bar = rich.progress_bar.ProgressBar(self.total, self.step, width=max(1, min(40, room - len(name))))
        line = rich.table.Table.grid(padding=(0, 2, 0, 0))
        for _ in range(2 + len(cells)):
            line.add_column(no_wrap=True)
        line.add_row(Text(name, style="bold"), bar, *map(Text, cells))
        yield line
        yield Text("  " + self.status(), no_wrap=True, overflow="ellipsis")

    def as_html(self) -> str:
        """Return the two lines for a notebook."""
        head = f"{self.step}/{self.total} &nbsp; {clock(self.left)} left"
        bar = f'<progress value="{self.step}" max="{self.total}"></progress>'
        return f"<div><b>{html.escape(self.title)}</b> {bar} {head}<br>{html.escape(self.status())}</div>"


class Progress(keras.callbacks.Callback):
    """Shows a run's state.

    Args:
        title: Name of the run and its seed.
        plan: Its plan.
        first_step: The step at which it starts or resumes.
    """

    def __init__(self, title: str, plan: Plan, first_step: int):
        super().__init__()
        self._plan, self._first_step = plan, first_step
        self._state = RunProgress(title, plan.total, first_step, {})

    def on_train_begin(self, logs=None):
        """Show the bar."""
        self._start = time.perf_counter(), self._first_step
        self._display = _display()
        self._display.show(self._state)
        if self._first_step:
            self._display.line(f"{self._state.title}: resumes from step {self._first_step}")

    def on_train_batch_end(self, batch, logs=None):
        """Move the bar, or print a line if one is due."""
        state, step, now = self._state, batch + 1, time.perf_counter()
        started, first = self._start
        # Estimated from full-size images rather than steps, because steps on small images are faster.
        images_left = self._plan.full_size_images
        state.left = (now - started) * images_left(step) / (images_left(first) - images_left(step))
        if first == self._first_step:  # leave out the first call, which compiles
            self._start = now, step
        state.step, state.logs = step, dict(logs)
        if "val_error" in logs:
            state.validation = logs["val_error"], step
        self._display.show(state)
        if self._plan.is_due(self._plan.log, step) or "val_error" in logs:
            measured = f"  val error {logs['val_error']:.2f} %" if "val_error" in logs else ""
            self._display.line(
                f"{state.title}: step {step}/{state.total}  {state.rate}  loss {logs['loss']:.3f}  "
                f"error {logs['error']:.1f} %{measured}  {clock(state.left)} left"
            )

    def on_train_end(self, logs=None):
        """Leave the bar as it is."""
        self._display.end(self._state)


class _Lines:
    """Plain lines on stderr, for files and pipes."""

    def show(self, state):
        pass

    def line(self, text):
        print(printable(text), file=sys.stderr, flush=True)

    def end(self, state):
        pass


class _Terminal:
    """Bars at the bottom of a terminal, one for each of the runs that train side by side."""

    _running: list[RunProgress] = []
    _live: rich.live.Live | None = None

    def show(self, state):
        cls = type(self)
        if not any(state is one for one in cls._running):
            cls._running.append(state)
        if cls._live is None:
            console = rich.console.Console(stderr=True)
            cls._live = rich.live.Live(get_renderable=lambda: rich.console.Group(*cls._running), console=console)
            cls._live.start()

    def line(self, text):
        pass

    def end(self, state):
        cls = type(self)
        cls._running = [one for one in cls._running if one is not state]
        if cls._live is None:
            return
        if cls._running:
            cls._live.console.print(state)
            return
        cls._running.append(state)
        live, cls._live = cls._live, None
        live.stop()
        cls._running = []


class _Notebook:
    """An output of a notebook cell, updated in place."""

    def __init__(self):
        self._handle, self._updated = None, 0.0

    def show(self, state, last=False):
        from IPython.display import display

        shown = {"text/html": state.as_html(), "text/plain": f"{state.title}: step {state.step}/{state.total}"}
        now = time.perf_counter()
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        elif last or now - self._updated > NOTEBOOK_INTERVAL:
            self._handle.update(shown, raw=True)
        else:
            return
        self._updated = now

    def line(self, text):
        pass

    def end(self, state):
        self.show(state, last=True)


def _display():
    if in_notebook():
        return _Notebook()
    return _Terminal() if rich.console.Console(stderr=True).is_terminal else _Lines()


def clock(seconds: float | None) -> str:
    """Format seconds as hours, minutes and seconds."""
    if seconds is None:
        return "-:--:--"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
