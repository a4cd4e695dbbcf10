"""A progress bar for commands that take more than two seconds, on a terminal only."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Show a bar on standard error while the block runs; it disappears at the end.

    Yields:
        A function to call with the name of the next step and the fraction done, from 0 to 1. Nothing is shown unless
        standard error is a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    if not sys.stderr.isatty():
        yield lambda step, done: None
        return
    # A descriptor of its own, because file descriptor 2 is redirected while TensorFlow converts; see `redirection`.
    with open(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding) as terminal:
        with Progress(*columns, console=Console(file=terminal), transient=True) as progress:
            task = progress.add_task("", total=1)

            def show(step: str, done: float) -> None:
                progress.update(task, description=step, completed=done)

            yield show
