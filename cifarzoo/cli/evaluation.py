"""Commands that measure trained networks."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.options import (
    Arguments,
    DataDir,
    DatasetName,
    Debug,
    Weights,
    factory_arguments,
    find_modules,
    refuse,
)
from cifarzoo.errors import CifarzooError, ExperimentError

commands = typer.Typer()

MODEL_HELP = "Name of a model, tag or file of published weights, .keras file, or folder of a run."


@commands.command()
def evaluate(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    dataset: DatasetName = None,
    weights: Weights = None,
    argument: Arguments = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="train, test, train45k or validation.")] = "test",
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
    form: Annotated[str, typer.Option("--format", help="markdown or json.")] = "markdown",
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    debug: Debug = False,
) -> None:
    """Measure error, likelihood and calibration on a split."""
    form = "json" if as_json else form
    if form not in ("markdown", "json"):
        raise ExperimentError(f"--format {form}: expected markdown or json")
    if (model is not None) + all_ + (from_logits is not None) != 1:
        raise ExperimentError("evaluate: expected exactly one of a model, --all and --from-logits FILE")
    if all_:
        refuse(context, "--all", "weights argument split flip logits confusion")
        _evaluate_all(dataset, data_dir, form)
        return
    if confusion:
        from cifarzoo.evaluation import figures

        figures.check()
    if from_logits:
        refuse(context, "--from-logits", "dataset data_dir weights argument flip logits")
        from cifarzoo.evaluation.predictions import load_predictions

        metrics = load_predictions(from_logits).describe(split)
    elif model is not None:
        find_modules(Path())
        arguments = factory_arguments(argument)
        from cifarzoo.evaluation.evaluate import evaluate_named

        metrics = evaluate_named(model, dataset, data_dir, split, logits, flip, weights, arguments)
    from cifarzoo.evaluation.text import as_markdown

    # Print first: if the picture cannot be written, the numbers are not lost.
    print(json.dumps(metrics, indent=2) if form == "json" else as_markdown(metrics))
    if confusion:
        figures.save(figures.confusion_matrix(metrics["confusion"], list(metrics["class_error"])), confusion)


def _evaluate_all(dataset: str | None, data_dir: str | None, form: str) -> None:
    """Print one row per published file; raise a CifarzooError if any differs from the manifest."""
    from cifarzoo.evaluation.evaluate import evaluate_published
    from cifarzoo.evaluation.text import METRIC_LABELS

    rows, wrong = [], []
    if form == "markdown":
        print("| weights | data | " + " | ".join(METRIC_LABELS.values()) + " | images/s |")
        print("| --- | --- |" + " ---: |" * (len(METRIC_LABELS) + 1))
    for entry, metrics, difference in evaluate_published(dataset, data_dir):
        rows.append({"weights": entry.tag, "dataset": entry.dataset, "metrics": metrics, "differs": difference})
        if metrics and form == "markdown":
            cells = [f"{metrics[key]:.{2 if 'error' in key else 4}f}" for key in METRIC_LABELS]
            print(f"| {entry.tag} | {entry.dataset} | {' | '.join(cells)} | {metrics['images_per_second']:,.0f} |")
        if difference:
            wrong.append(f"{entry.tag}: {difference}")
    if form == "json":
        print(json.dumps(rows, indent=2))
    if wrong:
        raise CifarzooError(f"not as published: {'; '.join(wrong)}")


@commands.command()
def report(
    run: Annotated[
        str, typer.Argument(help="Folder of a finished run, logdir/run_name/seed0, or tag of published weights.")
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
    from cifarzoo.cli.progress import progress_bar

    find_modules(Path())
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.evaluation.report import write_report

        path = write_report(run, out, data_dir, images, show)
    print(path)
