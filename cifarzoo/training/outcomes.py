"""How the runs of a batch ended, and the table that says so."""

from dataclasses import dataclass

import rich.table

from cifarzoo.errors import summarize
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.results import Results
from cifarzoo.training.stopping import Interrupted


@dataclass
class Outcome:
    """How one run ended.

    Attributes:
        experiment: Its experiment.
        seed: Its seed.
        results: Its results, if it has finished.
        error: Otherwise one line that says why not.
        state: "finished", "failed", "stopped" (saved, and can resume) or "not started".
    """

    experiment: Experiment
    seed: int
    results: Results | None = None
    error: str | None = None
    state: str = "finished"

    @classmethod
    def of(cls, experiment: Experiment, seed: int, result: Results | Exception) -> "Outcome":
        """The outcome of a run that returned or raised `result`."""
        if not isinstance(result, Exception):
            return cls(experiment, seed, results=result)
        line = summarize(result).removeprefix(f"{experiment.location}: ")
        line += "".join(f" ({note})" for note in getattr(result, "__notes__", ()))
        return cls(experiment, seed, error=line, state="stopped" if isinstance(result, Interrupted) else "failed")


def results_table(outcomes: list[Outcome]) -> rich.table.Table:
    """Make a table of all runs of a batch: errors in percent, losses in nats."""
    table = rich.table.Table(title="Runs")
    for column in ("experiment", "seed", "data", "steps", "error %", "loss", "minutes", "note"):
        table.add_column(column, justify="left" if column in ("experiment", "data", "note") else "right")
    for outcome in outcomes:
        cells = [outcome.experiment.name, str(outcome.seed), outcome.experiment.dataset]
        if results := outcome.results:
            cells += [
                f"{results.steps}",
                f"{results.metrics['error']:.2f}",
                f"{results.metrics['nll']:.3f}",
                f"{results.seconds / 60:.1f}",
                results.split,
            ]
        else:
            cells += ["", "", "", "", outcome.state]
        table.add_row(*cells)
    return table
