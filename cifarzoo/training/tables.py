"""Tables over finished runs: mean and standard deviation over seeds."""

import json
import statistics
from pathlib import Path

from cifarzoo.errors import DataError

COLUMNS = ("experiment", "dataset", "split", "n", "error_mean", "error_std", "nll_mean", "steps", "minutes_mean")


def summarize(folders: list[Path]) -> list[dict]:
    """One row an experiment, over all its seeds below the folders.

    Returns:
        Rows with `COLUMNS` and `errors` (by seed); errors in percent, the standard deviation that of a sample (n - 1),
        None for a single run.

    Raises:
        DataError: a folder that does not exist, or no finished run in any.
    """
    paths = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder of runs")
        paths += sorted(folder.rglob("results.json"))
    if not paths:
        raise DataError(f"no finished run (results.json) below {', '.join(map(str, folders))}")
    groups: dict[tuple, list[dict]] = {}
    for path in paths:
        try:
            results = json.loads(path.read_text())
            groups.setdefault((str(path.parent.parent), results["fingerprint"]), []).append(results)
        except (ValueError, KeyError, TypeError) as failure:
            raise DataError(f"{path}: not the results of a run ({failure})") from None
    return [_row(group) for group in groups.values()]


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
    cells = [[_cell(row[column]) for column in COLUMNS] for row in rows]
    if form == "tsv":
        return "\n".join("\t".join(line) for line in [list(COLUMNS), *cells])
    if form == "markdown":
        rule = ["---" if column in ("experiment", "dataset", "split") else "---:" for column in COLUMNS]
        return "\n".join("| " + " | ".join(line) + " |" for line in [list(COLUMNS), rule, *cells])
    raise DataError(f"--format {form}: it is markdown, tsv or json")


def _cell(value):
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
