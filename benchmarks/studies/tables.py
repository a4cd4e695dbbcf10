"""Write the tables of docs/studies.md from finished runs.

    python benchmarks/studies/tables.py runs/studies

results.json keeps the rows of all runs, so that a test can compare them with the page. Runs that have not finished keep
the rows that they have there.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

from cifarzoo.marked_table import with_table  # noqa: E402
from cifarzoo.runs.folder import RunFolder  # noqa: E402
from cifarzoo.runs.tables import summarize, summarize_file  # noqa: E402

PAGE, RESULTS = ROOT / "docs/studies.md", HERE / "results.json"


# The files of experiments, whose runs lie in folders of the same names.
FILES = ("short_rates", "rates", "factors")
# The tables of the page: the file, and which of its experiments have rows; None stands for all of them.
TABLES: dict[str, tuple[str, list[str] | None]] = {
    "short_rates": ("short_rates", None),
    "rates": ("rates", None),
    "optimizers": ("factors", ["resnet20-sgd", "resnet20-adamw", "resnet20-muon"]),
    "normalization": ("factors", ["resnet20-sgd", "resnet20-group_normalization"]),
    "noise": ("factors", ["resnet20-sgd", "resnet20-symmetric_noise"]),
    "teacher": ("factors", ["resnet20-sgd", "resnet20-teacher"]),
}


def marks(study: str) -> tuple[str, str]:
    """Return the marks around the table of a study."""
    return f"<!-- {study}: written by benchmarks/studies/tables.py -->", f"<!-- {study}: end -->"


def measure(folder: Path) -> dict[str, dict]:
    """Return the rows of the finished experiments in a folder, by their names."""
    columns = ("split", "steps", "n", "error_mean", "error_std", "nll_mean")
    rows = {row["experiment"]: {key: row[key] for key in columns} for row in summarize([folder])}
    for row in summarize_file([folder], "log.tsv"):
        rows[row["experiment"]]["train_error_mean"] = row.get("train_error_mean")
    return rows


def table(results: dict[str, dict[str, dict]], study: str) -> str:
    """Format the rows of one study as a Markdown table, best first."""
    file, names = TABLES[study]
    rows = [(name, row) for name, row in results[file].items() if names is None or name in names]
    lines = [
        "| run | measured on | n | error % | cross-entropy | error on training labels % |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in sorted(rows, key=lambda pair: pair[1]["error_mean"]):
        error = f"{row['error_mean']:.2f}" + (f" ± {row['error_std']:.2f}" if row["error_std"] is not None else "")
        train = "" if row["train_error_mean"] is None else f"{row['train_error_mean']:.2f}"
        cells = name.removeprefix("resnet20-"), row["split"], row["n"], error, f"{row['nll_mean']:.3f}", train
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Measure all studies in a folder and write their tables."""
    results = {name: {} for name in FILES} | json.loads(RESULTS.read_text(encoding="utf-8"))
    for name in FILES:
        if RunFolder.finished_below(folder / name):
            results[name] |= measure(folder / name)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for study in TABLES:
        PAGE.write_text(with_table(PAGE, marks(study), table(results, study)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
