"""Tables over finished runs: mean and standard deviation over seeds; logs as arrays."""

import csv
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.experiment.differences import flatten, labels
from cifarzoo.experiment.fingerprints import decisive
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.results import Results

Run = tuple[RunFolder, Results]


def summarize(folders: list[Path]) -> list[dict[str, Any]]:
    """Return one row per experiment, over all its seeds below the folders.

    Seeds in one folder with different settings, such as the precisions that `auto` means on two machines, are
    experiments of their own: their names have the settings that differ, or else the seeds.

    Returns:
        Rows with `experiment`, `dataset`, `split`, `n`, `error_mean`, `error_std`, `nll_mean`, `steps`, `minutes_mean`
        and `errors` (by seed). Errors are in percent; `error_std` is the sample standard deviation (n - 1), None for a
        single run.

    Raises:
        DataError: a folder does not exist, none holds a finished run, or a run's results are damaged.
    """
    return [_row(name, [results for _, results in group]) for name, group in _groups(folders)]


def summarize_file(folders: list[Path], name: str) -> list[dict[str, Any]]:
    """Return one row per experiment over the last rows of a table that each seed has, like cifar_jax's arrange_tsv.

    The names are those of `summarize`.

    Args:
        folders: Searched for finished runs, at any depth.
        name: A file with tab-separated columns in every run's folder, for example "log.tsv", or "sharpness.tsv"
            from `cifarzoo sharpness --compat cifar_jax`.

    Returns:
        Rows with `experiment`, `dataset`, `n`, and `<column>_mean` and `<column>_std` for every column in which all
        seeds have numbers. The standard deviation is that of a sample (n - 1), None for a single run.

    Raises:
        DataError: as for `summarize`, or a run has no such table.
    """
    rows = []
    for experiment, group in _groups(folders):
        last = [{key: values[-1] for key, values in read_table(folder.path / name).items()} for folder, _ in group]
        row: dict[str, Any] = {"experiment": experiment, "dataset": group[0][1].dataset, "n": len(group)}
        for key in last[0]:
            values = [columns.get(key, np.nan) for columns in last]
            if np.isfinite(values).all():
                row[f"{key}_mean"] = float(np.mean(values))
                row[f"{key}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Read the columns of a TSV file whose first line names them: float64 [rows], NaN where a cell is empty.

    Raises:
        DataError: the file cannot be read, is not such a table, or has no rows.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", restkey="", restval=""))
        columns = {key: np.array([float(row[key] or "nan") for row in rows]) for key in (rows[0] if rows else ())}
    except OSError as failure:
        raise DataError(f"{path}: cannot be read ({failure.strerror})") from None
    except (ValueError, TypeError, csv.Error) as failure:
        raise DataError(f"{path}: not a table of numbers ({failure})") from None
    if not columns:
        raise DataError(f"{path}: no rows yet")
    return columns


def format_tsv(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table with tab-separated columns, their names in the first line; no newline at the end."""
    return "\n".join("\t".join(cells) for cells in [list(columns), *rows])


def _groups(folders) -> list[tuple[str, list[Run]]]:
    """Return pairs of an experiment's name and its finished runs."""
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder of runs")
    # Folders may contain each other; each run counts once.
    found = {run.path.resolve(): run for folder in folders for run in RunFolder.finished_below(folder)}
    runs = list(found.values())
    if not runs:
        raise DataError(f"no finished run (results.json) below {', '.join(map(str, folders))}")
    groups: dict[tuple[Path, str], list[Run]] = {}
    for run in runs:
        results = run.results()
        groups.setdefault((Path(os.path.abspath(run.path)).parent, results.fingerprint), []).append((run, results))
    neighbors: dict[Path, list[list[Run]]] = {}
    for (parent, _), group in groups.items():
        neighbors.setdefault(parent, []).append(group)
    return [pair for several in neighbors.values() for pair in zip(_names(several), several, strict=True)]


def _names(groups: list[list[Run]]) -> list[str]:
    """Return the names of the experiments in one folder, with the settings that differ if there are several."""
    names = [group[0][1].name for group in groups]
    if len(groups) == 1:
        return names
    described = labels(settings_of([group[0][0] for group in groups]))
    names = [f"{name} ({label})" if label else name for name, label in zip(names, described, strict=True)]
    if len(set(names)) == len(names):
        return names
    seeds = (", ".join(str(results.seed) for _, results in group) for group in groups)
    return [f"{name} (seeds: {numbers})" for name, numbers in zip(names, seeds, strict=True)]


def settings_of(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Return for each run, by dotted key, the settings that affect results and that any run changes from its default.

    The mappings are empty if an experiment cannot be read.
    """
    try:
        experiments = [run.experiment() for run in runs]
    except CifarzooError:
        return [{} for _ in runs]
    own = [flatten(decisive(one)) for one in experiments]
    complete = [flatten(one.resolved()) | settings for one, settings in zip(experiments, own, strict=True)]
    return [{key: one.get(key) for settings in own for key in settings} for one in complete]


def _row(name, group):
    first = group[0]
    errors = [results.metrics["error"] for results in group]
    return {
        "experiment": name,
        "dataset": first.dataset,
        "split": first.split,
        "n": len(group),
        "error_mean": statistics.fmean(errors),
        "error_std": statistics.stdev(errors) if len(errors) > 1 else None,
        "nll_mean": statistics.fmean(results.metrics["nll"] for results in group),
        "steps": round(statistics.fmean(results.steps for results in group)),  # seeds may stop early
        "minutes_mean": statistics.fmean(results.seconds for results in group) / 60,
        "errors": {str(results.seed): results.metrics["error"] for results in group},
    }


def sorted_rows(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return the rows in ascending order of a column; rows without a value come last.

    Args:
        rows: From `summarize` or `summarize_file`.
        key: Name of the column, with or without `_mean`; a leading "-" reverses the order.

    Raises:
        DataError: no row has this column.
    """
    column, descending = key.removeprefix("-"), key.startswith("-")
    columns = dict.fromkeys(column for row in rows for column in row if column != "errors")
    column = column if column in columns else f"{column}_mean"
    if column not in columns:
        raise DataError(f"--sort {key}: no such column; the columns are {', '.join(columns)}")
    with_value = [row for row in rows if row.get(column) is not None]
    without = [row for row in rows if row.get(column) is None]
    return sorted(with_value, key=lambda row: row[column], reverse=descending) + without
