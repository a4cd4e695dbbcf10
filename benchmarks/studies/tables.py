"""Write the tables of docs/studies.md from finished runs.

    python benchmarks/studies/tables.py runs/studies

Each folder of runs/studies is one study, such as runs/studies/optimizers, and fills the table of its name in
docs/studies.md; studies without a folder keep their tables. results.json keeps the rows, so that a test can compare
them with the page.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

from cifarzoo.marked_table import with_table  # noqa: E402
from cifarzoo.runs.tables import summarize  # noqa: E402

PAGE, RESULTS = ROOT / "docs/studies.md", HERE / "results.json"


def marks(study: str) -> tuple[str, str]:
    """Return the marks around the table of a study."""
    return f"<!-- {study}: written by benchmarks/studies/tables.py -->", f"<!-- {study}: end -->"


def measure(folder: Path) -> list[dict]:
    """Return the rows of one study, best first."""
    columns = ("experiment", "split", "n", "error_mean", "error_std", "nll_mean", "minutes_mean")
    rows = [{key: row[key] for key in columns} for row in summarize([folder])]
    return sorted(rows, key=lambda row: row["error_mean"])


def table(rows: list[dict]) -> str:
    """Format the rows of one study as a Markdown table."""
    lines = [
        "| run | measured on | n | error % | cross-entropy | minutes |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        error = f"{row['error_mean']:.2f}" + (f" ± {row['error_std']:.2f}" if row["error_std"] is not None else "")
        cells = row["experiment"], row["split"], row["n"], error, f"{row['nll_mean']:.3f}", f"{row['minutes_mean']:.0f}"
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Measure all studies in a folder and write their tables."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results |= {study.name: measure(study) for study in sorted(folder.iterdir()) if study.is_dir()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for study, rows in results.items():
        PAGE.write_text(with_table(PAGE, marks(study), table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
