"""Write the tables of docs/studies.md from finished runs.

    python benchmarks/studies/tables.py runs/studies

Run this on one core (`taskset -c 0`), like the timed studies. Unless results.json has it, the script measures the
processor's peak, which is the speed of multiplying large matrices.

results.json keeps the rows of all runs, so that a test can compare them with the page. Runs that have not finished keep
the rows that they have there. The runs with the best learning rates, chosen on `validation`, are measured on the test
images here.
"""

import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))
sys.path.append(str(HERE.parent))

from inference import matmul_speed  # noqa: E402

from cifarzoo.data import load  # noqa: E402
from cifarzoo.evaluation.evaluate import evaluate  # noqa: E402
from cifarzoo.evaluation.load_model import load_run  # noqa: E402
from cifarzoo.hardware import processor_name  # noqa: E402
from cifarzoo.marked_table import with_table  # noqa: E402
from cifarzoo.models.macs import macs  # noqa: E402
from cifarzoo.runs.folder import RunFolder  # noqa: E402
from cifarzoo.runs.tables import summarize, summarize_file  # noqa: E402
from cifarzoo.training.build import build_model  # noqa: E402
from cifarzoo.training.job import prepare  # noqa: E402
from cifarzoo.training.training_data import training_data  # noqa: E402

PAGE, RESULTS = ROOT / "docs/studies.md", HERE / "results.json"

# The files of experiments, whose runs lie in folders of the same names.
FILES = ("short_rates", "rates", "factors", "policies", "hour")
# Timed studies: their tables also have minutes and the share of the processor's peak.
TIMED = ("hour",)
# Studies of augmentation: their tables also have the error on the augmented images of the last training steps.
AUGMENTED = ("policies",)
OPTIMIZERS = ("sgd", "adamw", "muon")
# The rows of each table of the page: parts of the results, and in them the experiments whose names begin so.
TABLES: dict[str, list[tuple[str, str]]] = {
    "short_rates": [("short_rates", "")],
    "rates": [("rates", "")],
    "optimizers": [("chosen", "")],
    "normalization": [("chosen", "sgd"), ("factors", "resnet20-group_normalization")],
    "noise": [("chosen", "sgd"), ("factors", "resnet20-symmetric_noise")],
    "teacher": [("chosen", "sgd"), ("factors", "resnet20-teacher")],
    "policies": [("policies", "")],
    "hour": [("hour", "")],
}
# Runs with uniform lists are one group, since each has a list of its own.
UNIFORM = "reduced-uniform"
OBJECTIVES = ("reduced-official", "reduced-mean", "reduced-band")
# The criterion of policies.yaml: nine lists, three seeds, and Student's distribution with 8 degrees of freedom.
LISTS, SEEDS, QUANTILE = 9, 3, 3.02


def marks(study: str) -> tuple[str, str]:
    """Return the marks around the table of a study."""
    return f"<!-- {study}: written by benchmarks/studies/tables.py -->", f"<!-- {study}: end -->"


def measure(folder: Path) -> dict[str, dict]:
    """Return the rows of the finished experiments in a folder, by their names."""
    columns: tuple[str, ...] = ("split", "steps", "n", "error_mean", "error_std", "nll_mean")
    if folder.name in TIMED:
        columns += ("minutes_mean",)
    summary, runs = summarize([folder]), RunFolder.finished_below(folder)
    if len(summary) > len({run.path.parent for run in runs}):
        raise SystemExit(f"{folder}: seeds of an experiment have different settings; see `cifarzoo table {folder}`")
    if len({row["experiment"] for row in summary}) < len(summary):
        raise SystemExit(f"{folder}: two folders hold experiments of one name; see `cifarzoo table {folder}`")
    rows = {row["experiment"]: {key: row[key] for key in columns} for row in summary}
    for row in summarize_file([folder], "log.tsv"):
        rows[row["experiment"]]["train_error_mean"] = row.get("train_error_mean")
        if folder.name in AUGMENTED:
            rows[row["experiment"]]["augmented_error_mean"] = row["error_mean"]
    if folder.name in TIMED:
        for run in runs:
            row, measured = rows[run.results().name], arithmetic(run)
            if row.setdefault("device", measured["device"]) != measured["device"]:
                raise SystemExit(f"{run.path.parent}: seeds trained on {row['device']} and on {measured['device']}")
            row |= measured
    return rows


def arithmetic(run: RunFolder) -> dict[str, Any]:
    """Return where a finished run trained, and the floating-point operations of its network, without a teacher's."""
    experiment = run.experiment()
    dataset = load(experiment.dataset, experiment.data_dir)
    images = prepare(experiment, dataset, experiment.seeds[:1]).plan.full_size_images()
    network = macs(build_model(experiment, dataset.classes, 0, dataset.inputs))
    return {
        "device": f"{run.results().device}, {experiment.precision}",
        "operations": experiment.operations(network, images),
    }


def chosen(rates: dict[str, dict]) -> list[str]:
    """Return the experiment with the smallest error on `validation` for each optimizer that has any."""
    groups = [[name for name in rates if name.startswith(optimizer)] for optimizer in OPTIMIZERS]
    # Of equal errors, the one with the smaller rate.
    order = {name: (row["error_mean"], float(name.rpartition("_")[2])) for name, row in rates.items()}
    return [min(group, key=order.__getitem__) for group in groups if group]


def measure_on_test(folder: Path, earlier: dict) -> dict:
    """Return the row of a finished experiment with one seed, measured in float32 on the test images.

    The error on training labels is against those that it was trained on. A row of the same weights is kept as it is.
    """
    run = RunFolder(folder / "seed0")
    results = run.results()
    if earlier.get("weights_sha256") == results.weights_sha256:
        return earlier
    loaded, experiment = load_run(run), run.experiment()
    dataset = training_data(experiment, load(experiment.dataset, experiment.data_dir))
    test, train = (evaluate(loaded, dataset, split)[0] for split in ("test", experiment.train_split))
    return {
        "split": "test",
        "steps": results.steps,
        "n": 1,
        "error_mean": test["error"],
        "error_std": None,
        "nll_mean": test["nll"],
        "train_error_mean": train["error"],
        "weights_sha256": results.weights_sha256,
    }


def pooled(rows: list[tuple[str, dict]]) -> list[tuple[str, dict]]:
    """Return the rows with those of uniform lists as one."""
    uniform = [row for name, row in rows if name.startswith(UNIFORM)]
    others = [(name, row) for name, row in rows if not name.startswith(UNIFORM)]
    if len(uniform) < 2:
        return rows
    errors = [row["error_mean"] for row in uniform]
    group = uniform[0] | {
        "n": len(uniform),
        "error_mean": statistics.fmean(errors),
        "error_std": statistics.stdev(errors),
        "nll_mean": statistics.fmean(row["nll_mean"] for row in uniform),
        "train_error_mean": None,
        "augmented_error_mean": statistics.fmean(row["augmented_error_mean"] for row in uniform),
    }
    return [*others, (f"{UNIFORM} ({len(uniform)} lists)", group)]


def largest_winner(uniform: dict) -> float:
    """Return the mean error below which an objective beats uniform lists, by the criterion of policies.yaml."""
    return uniform["error_mean"] - QUANTILE * uniform["error_std"] * math.sqrt(1 + 1 / uniform["n"])


def verdicts(rows: list[tuple[str, dict]]) -> list[str]:
    """Return a line per searched objective that says whether it beats uniform lists."""
    uniform = next((row for name, row in rows if name.startswith(f"{UNIFORM} (")), {"n": 0})
    if uniform["n"] != LISTS:
        return []
    limit = largest_winner(uniform)
    lines = []
    for name, row in rows:
        if name in OBJECTIVES and row["n"] == SEEDS:
            verdict = "beats" if row["error_mean"] < limit else "is not shown to beat"
            measured = f"{row['error_mean']:.2f} %; the limit is {limit:.2f} %"
            lines.append(f"* `{_short(name)}` {verdict} uniform lists: {measured}.")
    return lines


def _short(name: str) -> str:
    """Return the name of an experiment without that of its file."""
    return name.removeprefix("resnet20-").removeprefix("reduced-").removeprefix("hour-")


def timed(row: dict, peak: dict[str, Any]) -> list[str]:
    """Return the cells of a timed row: minutes, and the share of the processor's peak that the training reached."""
    share = row["operations"] / (60 * row["minutes_mean"] * peak[row["device"]])
    return [f"{row['minutes_mean']:.1f}", f"{100 * share:.0f}"]


def table(results: dict[str, dict[str, Any]], study: str) -> str:
    """Format the rows of one study as a Markdown table, best first."""
    rows = [
        (name, row)
        for part, prefix in TABLES[study]
        for name, row in results.get(part, {}).items()
        if name.startswith(prefix)
    ]
    rows = pooled(rows)
    has_train_error = any(row["train_error_mean"] is not None for _, row in rows)
    columns = ["run", "measured on", "n", "error %", "cross-entropy"]
    if has_train_error:
        columns.append("error on training labels %")
    if study in AUGMENTED:
        columns.append("error on augmented images %")
    if study in TIMED:
        columns += ["minutes", "of the peak %"]
    ruler = ["---", "---", *["---:"] * (len(columns) - 2)]
    lines = [_line(columns), _line(ruler)]
    for name, row in sorted(rows, key=lambda pair: pair[1]["error_mean"]):
        error = f"{row['error_mean']:.2f}" + (f" ± {row['error_std']:.2f}" if row["error_std"] is not None else "")
        cells = [_short(name), row["split"], row["n"], error, f"{row['nll_mean']:.3f}"]
        if has_train_error:
            cells.append("" if row["train_error_mean"] is None else f"{row['train_error_mean']:.2f}")
        if study in AUGMENTED:
            cells.append(f"{row['augmented_error_mean']:.1f}")
        if study in TIMED:
            cells += timed(row, results["peak"])
        lines.append(_line(cells))
    return "\n".join([*lines, *([""] if (said := verdicts(rows)) else []), *said])


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def main(folder: Path) -> None:
    """Measure all studies in a folder and write their tables."""
    results = {name: {} for name in (*FILES, "chosen", "peak")} | json.loads(RESULTS.read_text(encoding="utf-8"))
    for name in FILES:
        if name == "factors":
            runs = {run.path.parent.name: run.path.parent for run in RunFolder.finished_below(folder / name)}
            for experiment, path in runs.items():
                results[name][experiment] = measure_on_test(path, results[name].get(experiment, {}))
        elif RunFolder.finished_below(folder / name):
            results[name] |= measure(folder / name)
    best = chosen(results["rates"])
    here = {name: folder / "rates" / name for name in best if RunFolder(folder / "rates" / name / "seed0").is_finished}
    kept = {name: row for name, row in results["chosen"].items() if name in best}
    results["chosen"] = kept | {name: measure_on_test(path, kept.get(name, {})) for name, path in here.items()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for device in {row["device"] for name in TIMED for row in results[name].values()} - set(results["peak"]):
        processor, _, precision = device.rpartition(", ")
        if processor != processor_name():
            raise SystemExit(
                f"{device}: its peak has to be measured there, and here is {processor_name()}; for one core use "
                "`taskset -c 0`"
            )
        results["peak"][device] = matmul_speed(precision)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for study in TABLES:
        PAGE.write_text(with_table(PAGE, marks(study), table(results, study)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
