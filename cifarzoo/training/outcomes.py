"""How the runs of a batch ended, and the table that says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cifarzoo.errors import CifarzooError, summarize
from cifarzoo.experiment.schema import Experiment
from cifarzoo.notebook import html_table
from cifarzoo.runs.folder import RunFolder
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
        state: "finished", "failed", "stopped" (saved, and can resume) or "not started" (somebody asked to stop before
            it began); for a run of another shard that has not finished, "other shard".
    """

    experiment: Experiment
    seed: int
    results: Results | None = None
    error: str | None = None
    state: str = "finished"

    @property
    def is_stopped(self) -> bool:
        """Whether somebody asked to stop before its end, so that the same command resumes it."""
        return self.state in ("stopped", "not started")

    def __repr__(self) -> str:
        """Return the line that notebooks and the interpreter show."""
        return f"<{self.experiment.name} seed{self.seed}: {self.error or self.state}{measured(self.results)}>"

    def _repr_html_(self) -> str:
        return html_table(_shown([self]))

    @classmethod
    def of(cls, experiment: Experiment, seed: int, result: Results | Exception) -> "Outcome":
        """The outcome of a run that returned or raised `result`."""
        if not isinstance(result, Exception):
            return cls(experiment, seed, results=result)
        line = summarize(result).removeprefix(f"{experiment.location}: ")
        line += "".join(f" ({note})" for note in getattr(result, "__notes__", ()))
        return cls(experiment, seed, error=line, state="stopped" if isinstance(result, Interrupted) else "failed")


# Exit status of a batch that was stopped and saved: EX_TEMPFAIL of sysexits.h, "try again".
STOPPED = 75


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """Return the exit status of a batch: 0, `STOPPED` if the same command resumes it, 1 if runs failed."""
    if any(outcome.is_stopped for outcome in outcomes):
        return STOPPED
    return int(any(outcome.error for outcome in outcomes))


class Outcomes(list[Outcome]):
    """The outcomes of a batch; a notebook shows them as a table."""

    def _repr_html_(self) -> str:
        return html_table(_shown(self), "Runs")


def with_others(outcomes: Sequence[Outcome], experiments: Sequence[Experiment]) -> list[Outcome]:
    """Return the outcomes of all runs of a file; those of other shards as their folders show them now.

    Args:
        outcomes: Those of the runs that were trained here.
        experiments: All experiments of the file.
    """
    own = {RunFolder.of(outcome.experiment, outcome.seed).path: outcome for outcome in outcomes}
    runs = [(experiment, seed) for experiment in experiments for seed in experiment.seeds]
    return [own.get(RunFolder.of(*run).path) or outcome_in_folder(*run) for run in runs]


def outcome_in_folder(experiment: Experiment, seed: int) -> Outcome:
    """Return how a run ended as its folder shows it; one that has not is of another shard."""
    folder = RunFolder.of(experiment, seed)
    try:
        folder.check_belongs_to(experiment)
        if folder.is_finished:
            return Outcome(experiment, seed, folder.results())
    except CifarzooError as failure:
        return Outcome(experiment, seed, error=str(failure), state="failed")
    return Outcome(experiment, seed, state="other shard")


def _shown(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return the rows of a notebook's table, with units, and the reason for a run that has not finished."""
    rows = []
    for outcome, row in zip(outcomes, result_rows(outcomes), strict=True):
        error, minutes = row.pop("error", None), row.pop("minutes", None)
        row |= {"error %": None if error is None else f"{error:.2f}", "loss": row.pop("nll", None)}
        row |= {"minutes": None if minutes is None else f"{minutes:.1f}"}
        rows.append(row | ({"reason": outcome.error} if outcome.error else {}))
    return rows


def measured(results: Results | None) -> str:
    """Return what a line about a run says of its results, "" without any."""
    return f", {results.split} error {results.metrics['error']:.2f} %" if results else ""


def result_rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return one row per run of a batch: errors in percent, losses in nats, None for values of unfinished runs."""
    rows = []
    for outcome in outcomes:
        row: dict[str, Any] = {
            "experiment": outcome.experiment.name,
            "seed": outcome.seed,
            "dataset": outcome.experiment.dataset_name,
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
