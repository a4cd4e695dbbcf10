"""Tables over finished runs: mean and standard deviation over seeds; logs as arrays, and in cifar_jax's columns."""

import csv
import json
import statistics
from pathlib import Path

import numpy as np

from cifarzoo.errors import DataError


def summarize(folders: list[Path]) -> list[dict]:
    """One row an experiment, over all its seeds below the folders.

    Returns:
        Rows with `experiment`, `dataset`, `split`, `n`, `error_mean`, `error_std`, `nll_mean`, `steps`, `minutes_mean`
        and `errors` (by seed); errors in percent, the standard deviation that of a sample (n - 1),
        None for a single run.

    Raises:
        DataError: a folder that does not exist, or no finished run in any.
    """
    return [_row([results for _, results in group]) for group in _groups(folders)]


def summarize_file(folders: list[Path], name: str) -> list[dict]:
    """One row an experiment over the last rows that its seeds have in a table, as cifar_jax's arrange_tsv makes it.

    Args:
        folders: Searched for finished runs, to any depth.
        name: A file with tab-separated columns in every run's folder, for example "log.tsv", or "sharpness.tsv"
            of `cifarzoo sharpness --compat cifar_jax`.

    Returns:
        Rows with `experiment`, `dataset`, `n` and `<column>_mean` and `<column>_std` of every column that all seeds
        have numbers in; the standard deviation is that of a sample (n - 1), None for a single run.

    Raises:
        DataError: as `summarize`, or a run without such a table.
    """
    rows = []
    for group in _groups(folders):
        last = [{key: values[-1] for key, values in read_table(folder / name).items()} for folder, _ in group]
        row = {"experiment": group[0][1]["name"], "dataset": group[0][1]["dataset"], "n": len(group)}
        for key in last[0]:
            values = [one.get(key, np.nan) for one in last]
            if np.isfinite(values).all():
                row[f"{key}_mean"] = float(np.mean(values))
                row[f"{key}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows


def read_table(path: Path) -> dict[str, np.ndarray]:
    """The columns of a TSV file with a line of names: float64 [rows], NaN where a cell is empty.

    Raises:
        DataError: it cannot be read, is not such a table, or has no rows.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", restkey="", restval=""))
        columns = {key: np.array([float(row[key] or "nan") for row in rows]) for key in (rows[0] if rows else ())}
    except OSError as failure:
        raise DataError(f"{path}: cannot be read ({failure.strerror})") from None
    except (ValueError, TypeError) as failure:
        raise DataError(f"{path}: not a table of numbers ({failure})") from None
    if not columns:
        raise DataError(f"{path}: no rows yet")
    return columns


def cifar_jax_log(path: Path) -> str:
    """A run's log.tsv with the columns, units and scaling of cifar_jax's, a row a validation.

    https://github.com/sungyubkim/cifar_jax: epoch, acc, loss (of the augmented batches), wd (half the squared norm of
    the weights), grad_norm (squared; there that of one step with the penalty, here of the mean norm without it), acc_tr
    (nan without `train_metrics: true`) and acc_te; accuracies from 0 to 1.

    Raises:
        DataError: no such log, or one without a validation.
    """
    log = read_table(path)
    try:
        columns = {
            "epoch": log["epoch"],
            "acc": 1 - log["error"] / 100,
            "loss": log["loss"],
            "wd": log["weight_norm"] ** 2 / 2,
            "grad_norm": log["gradient_norm"] ** 2,
            "acc_tr": 1 - log["train_error"] / 100,
            "acc_te": 1 - log["val_error"] / 100,
        }
    except KeyError as failure:
        raise DataError(f"{path}: has no column {failure}; not the log of a run") from None
    places = np.flatnonzero(np.isfinite(log["val_error"]))
    if not len(places):
        raise DataError(f"{path}: no validation yet")
    rows = [[f"{values[place]:.6g}" for values in columns.values()] for place in places]
    return "\n".join("\t".join(row) for row in [list(columns), *rows])


def _groups(folders):
    """Folders and results of finished runs, a list an experiment."""
    paths = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder of runs")
        paths += sorted(folder.rglob("results.json"))
    if not paths:
        raise DataError(f"no finished run (results.json) below {', '.join(map(str, folders))}")
    groups: dict[tuple, list[tuple]] = {}
    for path in paths:
        try:
            results = json.loads(path.read_text())
            groups.setdefault((str(path.parent.parent), results["fingerprint"]), []).append((path.parent, results))
        except (ValueError, KeyError, TypeError) as failure:
            raise DataError(f"{path}: not the results of a run ({failure})") from None
    return list(groups.values())


def _row(group):
    split = next(name for name in ("test", "validation") if name in group[0])
    errors = [results[split]["error"] for results in group]
    return {
        "experiment": group[0]["name"],
        "dataset": group[0]["dataset"],
        "split": split,
        "n": len(group),
        "error_mean": statistics.fmean(errors),
        "error_std": statistics.stdev(errors) if len(errors) > 1 else None,
        "nll_mean": statistics.fmean(results[split]["nll"] for results in group),
        "steps": group[0]["steps"],
        "minutes_mean": statistics.fmean(results["seconds"] for results in group) / 60,
        "errors": {str(results["seed"]): results[split]["error"] for results in group},
    }


def format_rows(rows: list[dict], form: str) -> str:
    """The rows as "markdown", "tsv" or "json".

    Raises:
        DataError: another form.
    """
    if form == "json":
        return json.dumps(rows, indent=2)
    # Experiments need not have the same columns.
    columns = list(dict.fromkeys(column for row in rows for column in row if column != "errors"))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if form == "tsv":
        return "\n".join("\t".join(line) for line in [columns, *cells])
    if form == "markdown":
        rule = ["---" if column in ("experiment", "dataset", "split") else "---:" for column in columns]
        return "\n".join("| " + " | ".join(line) + " |" for line in [columns, rule, *cells])
    raise DataError(f"--format {form}: it is markdown, tsv or json")


def _cell(value):
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if value and abs(value) < 0.1:
        return f"{value:.3g}"
    return f"{value:.{4 if abs(value) < 10 else 3}f}"
