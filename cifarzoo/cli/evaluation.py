"""Commands that measure trained networks."""

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cifarzoo.cli.completion import complete_network, complete_tag
from cifarzoo.cli.options import (
    Arguments,
    DataDir,
    DatasetName,
    Debug,
    Weights,
    factory_arguments,
    refuse,
)
from cifarzoo.cli.output import Column, Format, print_rows
from cifarzoo.cli.progress import progress_bar
from cifarzoo.cli.trajectory import print_trajectory
from cifarzoo.errors import CifarzooError, ExperimentError
from cifarzoo.user_code import find_modules

if TYPE_CHECKING:
    from cifarzoo.evaluation.compare import Comparison

commands = typer.Typer()

MODEL_HELP = (
    "Name of a model, tag or file of published weights, name of another project's checkpoint, .keras file, or folder "
    "of a run. Several are measured as an ensemble, by the mean of their probabilities."
)


@commands.command()
def evaluate(
    context: typer.Context,
    model: Annotated[list[str], typer.Argument(help=MODEL_HELP, autocompletion=complete_network)] = [],  # noqa: B006
    dataset: DatasetName = None,
    weights: Weights = None,
    argument: Arguments = [],  # noqa: B006
    split: Annotated[
        str | None,
        typer.Option(help="train, test, train45k or validation. Default: test; with --kept, that of the run's log."),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average the logits of each image and its mirror image.")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="Measure every published file and compare it.")] = False,
    from_logits: Annotated[
        Path | None, typer.Option(help="Measure the logits in this .npz file (see --logits) instead of a model.")
    ] = None,
    logits: Annotated[
        Path | None, typer.Option(help="Write logits and labels of train, validation and test to this .npz file.")
    ] = None,
    confusion: Annotated[Path | None, typer.Option(help="Draw the confusion matrix: .svg, .png or .pdf.")] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Measure all weights that a run kept along the way.")] = False,
    curves: Annotated[
        Path | None, typer.Option(help="With --kept: draw error and loss over epochs to this file.")
    ] = None,
    form: Format = "",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Measure error, likelihood and calibration on a split."""
    if bool(model) + all_ + (from_logits is not None) != 1:
        raise ExperimentError("evaluate: expected exactly one of a model (or several), --all and --from-logits FILE")
    if all_:
        refuse(context, "--all", "weights argument split flip logits confusion")
        _evaluate_all(dataset, data_dir, form)
        return
    if kept:
        refuse(context, "--kept", "weights argument from_logits logits confusion")
        print_trajectory(model, dataset, split, flip, curves, data_dir, form)
        return
    split = split or "test"
    if curves:
        raise ExperimentError(
            "--curves: draws the trajectory of --kept; `cifarzoo compare --curves` draws those of logs"
        )
    if confusion:
        from cifarzoo.evaluation import figures

        figures.check()
    if from_logits:
        refuse(context, "--from-logits", "dataset data_dir weights argument flip logits")
        from cifarzoo.evaluation.predictions import load_predictions

        metrics = load_predictions(from_logits).describe(split)
    else:
        if len(model) > 1:
            refuse(context, "several models", "weights argument")
        find_modules(Path())
        arguments = factory_arguments(argument)
        with progress_bar() as show:
            show("start", 0)
            from cifarzoo.evaluation.evaluate import evaluate_named

            names = model[0] if len(model) == 1 else model
            metrics = evaluate_named(names, dataset, data_dir, split, logits, flip, weights, arguments, show)
    from cifarzoo.evaluation.text import collapse_note

    # Print first: if the picture cannot be written, the numbers are not lost.
    _print_metrics(metrics, form)
    if note := collapse_note(metrics):
        print(f"cifarzoo: warning: {note}", file=sys.stderr)
    if confusion:
        figures.save(figures.confusion_matrix(metrics["confusion"], list(metrics["class_error"])), confusion)


def _print_text(text: str, form: str) -> None:
    """Print a paragraph, wrapped at the width of a terminal."""
    print(textwrap.fill(text, shutil.get_terminal_size().columns) if form == "table" else text)


def _print_metrics(metrics: dict[str, Any], form: str) -> None:
    """Print the metrics of a split: as TSV and CSV in one row, otherwise in sections for people."""
    from cifarzoo.evaluation.text import METRIC_LABELS, as_markdown, as_rows, heading, temperature_note

    columns = [Column(key, label, ".2f" if "%" in label else ".4f") for key, label in METRIC_LABELS.items()]
    if form == "json":
        print(json.dumps(metrics, indent=2))
    elif form == "markdown":
        print(as_markdown(metrics))
    elif form in ("tsv", "csv"):
        print_rows([metrics], [Column("weights"), Column("dataset"), Column("split"), Column("n"), *columns], form)
    else:
        if "members" in metrics:
            members = [{"model": name} | member for name, member in metrics["members"].items()]
            print_rows(members, [Column("model", "member"), *columns], form)
            print()
        rows = [{"metric": label, "value": value} for label, value in as_rows(metrics)]
        print_rows(rows, [Column("metric"), Column("value", numeric=True)], form, heading(metrics))
        print()
        _print_text(temperature_note(metrics), form)
        print()
        classes = [{"class": name, "error": error} for name, error in metrics["class_error"].items()]
        print_rows(classes, [Column("class"), Column("error", "error %", ".2f")], form)


def _evaluate_all(dataset: str | None, data_dir: str | None, form: str) -> None:
    """Print one row per published file; raise a CifarzooError if any differs from the manifest."""
    from cifarzoo.evaluation.published import evaluate_published
    from cifarzoo.evaluation.text import METRIC_LABELS

    rows: list[dict[str, Any]] = []
    wrong = []
    with progress_bar() as show:
        for entry, metrics, difference in evaluate_published(dataset, data_dir, show):
            rows.append({"weights": entry.tag, "dataset": entry.dataset, "metrics": metrics, "differs": difference})
            if difference:
                wrong.append(f"{entry.tag}: {difference}")
    if form == "json":
        print(json.dumps(rows, indent=2))
    else:
        columns = [Column("weights"), Column("dataset", "data")]
        columns += [Column(key, label, ".2f" if "%" in label else ".4f") for key, label in METRIC_LABELS.items()]
        columns += [Column("images_per_second", "images/s", ",.0f", rank=1)]
        print_rows([row | (row["metrics"] or {}) for row in rows if row["metrics"]], columns, form)
    if wrong:
        raise CifarzooError(f"not as published: {'; '.join(wrong)}")


@commands.command()
def report(
    run: Annotated[
        str,
        typer.Argument(
            help="Folder of a finished run, logdir/run_name/seed0, or tag of published weights.",
            autocompletion=complete_tag,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write. Default: report.html in the run's folder, or TAG.html here."),
    ] = None,
    images: Annotated[
        int,
        typer.Option(min=0, help="Also draw loss slices over this many images, such as 500; they take minutes."),
    ] = 0,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Write a self-contained HTML page: numbers, curves, calibration, confusion matrix, mistakes, loss slices."""
    find_modules(Path())
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.evaluation.report import write_report

        path = write_report(run, out, data_dir, images, show)
    print(path)


@commands.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Two or more: folder of a run (logdir/run_name/seed0) or of an experiment (logdir/run_name, all its "
            "seeds), or tag of published weights.",
            autocompletion=complete_tag,
        ),
    ],
    curves: Annotated[
        Path | None, typer.Option(help="Draw the learning curves to this .svg, .png or .pdf file.")
    ] = None,
    form: Format = "",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Compare trained networks: results over seeds, settings that differ, and a paired test."""
    from cifarzoo.evaluation import figures

    if curves:
        figures.check()
    else:
        figures.check("paired tests", ["scipy"])
    find_modules(Path())
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.evaluation.compare import compare as compare_runs

        comparison = compare_runs(runs, data_dir, show)
    if form == "json":
        print(json.dumps(comparison.as_dict(), indent=2))
    else:
        _print_comparison(comparison, form)
    if curves:
        logs = {group.name: [subject.log() for subject in group.subjects] for group in comparison.groups}
        figures.save(figures.learning_curves(logs), curves)


def _as_yaml(value: Any) -> str:
    """Format the value of a setting on one line, as in an experiments file; "" for None."""
    import yaml

    if value is None:
        return ""
    return yaml.safe_dump([value], default_flow_style=True, width=10**6, sort_keys=False).strip()[1:-1]


def _print_comparison(comparison: "Comparison", form: str) -> None:
    """Print the three tables of a comparison."""
    columns = [
        Column("name"),
        Column("dataset", "data", rank=2),
        Column("split", rank=3),
        Column("n", "seeds", "d"),
        Column("error_mean", "error %", ".2f"),
        Column("error_std", "±", ".2f"),
        Column("nll_mean", "NLL", ".4f"),
        Column("parameters", spec=",d", rank=1),
        Column("steps", spec=",d", rank=1),
        Column("minutes_mean", "minutes", ",.1f", rank=1),
    ]
    print_rows([group.as_row() for group in comparison.groups], columns, form, "Results")
    names = [group.name for group in comparison.groups]
    settings = [
        {"key": key} | {name: _as_yaml(value) for name, value in zip(names, values, strict=True)}
        for key, values in comparison.settings
    ]
    print()
    if settings:
        print_rows(settings, [Column("key", "setting"), *map(Column, names)], form, "Settings that differ")
    else:
        print("All settings are the same.")
    print()
    columns = [
        Column("second", "compared with the first"),
        Column("difference", "error, difference", "+.2f"),
        Column("low", "95 %: from", "+.2f"),
        Column("high", "to", "+.2f"),
        Column("p", spec=".2g"),
        Column("kind", "test"),
        Column("n", spec=",d", rank=1),
    ]
    print_rows([vars(test) for test in comparison.tests], columns, form, "Paired tests")
    for test in comparison.tests:
        print()
        _print_text(f"{test.second}: {test.remark}.", form)
