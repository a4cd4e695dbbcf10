"""How the runs of a batch ended, and the table that says so."""

import sys
from dataclasses import dataclass
from typing import Any

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


def result_rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return one row per run of a batch: errors in percent, losses in nats; what an unfinished run lacks is None."""
    rows = []
    for outcome in outcomes:
        row: dict[str, Any] = {
            "experiment": outcome.experiment.name,
            "seed": outcome.seed,
            "dataset": outcome.experiment.dataset,
            "state": outcome.state,
        }
        if results := outcome.results:
            row |= {
                "split": results.split,
                "error": results.metrics["error"],
                "nll": results.metrics["nll"],
                "steps": results.steps,
                "minutes": results.seconds / 60,
            }
        rows.append(row)
    return rows


def report(line: str) -> None:
    """Print a line on stderr, not through rich, which would break an error over several lines."""
    print(line, file=sys.stderr, flush=True)
