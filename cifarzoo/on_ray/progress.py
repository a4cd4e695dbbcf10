"""Show how the runs of a batch on a cluster are doing: a table on a terminal, elsewhere one line per run that ends."""

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from cifarzoo.errors import printable
from cifarzoo.experiment.schema import Experiment
from cifarzoo.notebook import say
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.outcomes import Outcome, measured


class RunsTable:
    """A context in which the runs are shown; the table disappears at its end.

    Args:
        runs: Experiments and seeds, in the order of the rows.
    """

    def __init__(self, runs: Sequence[tuple[Experiment, int]]):
        self._runs = {RunFolder.of(*run).path: run for run in runs}
        self._ended: dict[Any, Outcome] = {}
        self._live: Any = None

    def __enter__(self) -> "RunsTable":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self._table(), console=Console(stderr=True), transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live:
            self._live.stop()

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Note how runs ended, and print a line for each unless there is a table; a failure always has its line."""
        for outcome in outcomes:
            self._ended[RunFolder.of(outcome.experiment, outcome.seed).path] = outcome
            name, seed = outcome.experiment.name, outcome.seed
            if outcome.error:
                reason = outcome.error.removeprefix(f"{name}, seed {seed}: ")
                # What was stopped says so itself.
                say(f"{name} seed{seed}: {reason if outcome.is_stopped else f'{outcome.state}: {reason}'}")
            elif not self._live:
                say(f"{name} seed{seed}: {outcome.state}{measured(outcome.results)}")

    def refresh(self) -> None:
        """Draw the table again, with what the runs have logged meanwhile."""
        if self._live:
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table("run", "state", "step", "error %")
        for path, (experiment, seed) in self._runs.items():
            outcome = self._ended.get(path)
            step, error = _last_row(RunFolder(path))
            state = outcome.state if outcome else "running" if step else "waiting"
            if outcome and outcome.results:
                step, error = f"{outcome.results.steps:,}", f"{outcome.results.metrics['error']:.2f}"
            table.add_row(printable(f"{experiment.name} seed{seed}"), state, step, error)
        return table


def _last_row(folder: RunFolder) -> tuple[str, str]:
    """Return step and training error of the last row of a run's log, "" if there is none."""
    with contextlib.suppress(OSError, ValueError):
        header, *rows = folder.log_path.read_text(encoding="utf-8").splitlines()
        row = dict(zip(header.split("\t"), rows[-1].split("\t"), strict=False)) if rows else {}
        return row.get("step", ""), f"{float(row['error']):.2f}" if row.get("error") else ""
    return "", ""
