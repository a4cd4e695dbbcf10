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
from cifarzoo.errors import CifarzooError

commands = typer.Typer()


@commands.command()
def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(help="A model's name, a published tag or file, a .keras file, or the folder of a run."),
    ] = None,
    dataset: DatasetName = None,
    weights: Weights = None,
    argument: Arguments = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="train, test, train45k or validation.")] = "test",
    flip: Annotated[
        bool, typer.Option("--flip", help="Average the logits of each image and its mirror image.")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="Measure every published file and compare.")] = False,
    from_logits: Annotated[
        Path | None, typer.Option(help="An .npz file as --logits writes it, instead of a model.")
    ] = None,
    logits: Annotated[
        Path | None, typer.Option(help="Write logits and labels of train, validation and test there.")
    ] = None,
    confusion: Annotated[Path | None, typer.Option(help="Draw the confusion matrix into this PNG file.")] = None,
    form: Annotated[str, typer.Option("--format", help="markdown or json.")] = "markdown",
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    debug: Debug = False,
) -> None:
    """Measure error, likelihood and calibration on a whole split."""
    from cifarzoo.errors import ExperimentError
    from cifarzoo.evaluation.evaluate import as_markdown, evaluate_named
    from cifarzoo.evaluation.predictions import load_predictions

    form = "json" if as_json else form
    if form not in ("markdown", "json"):
        raise ExperimentError(f"--format {form}: it is markdown or json")
    if (model is not None) + all_ + (from_logits is not None) != 1:
        raise ExperimentError("evaluate: name one of a model, --all and --from-logits FILE")
    if all_:
        refuse(context, "--all", "weights argument split flip logits confusion")
        _evaluate_all(dataset, data_dir, form)
        return
    if confusion:
        from cifarzoo.evaluation import figures

        figures.check()
    if from_logits:
        refuse(context, "--from-logits", "dataset data_dir weights argument flip logits")
        found = load_predictions(from_logits).describe(split)
    else:
        find_modules(Path())
        arguments = factory_arguments(argument)
        found = evaluate_named(model, dataset, data_dir, split, logits, flip, tag=weights, arguments=arguments)
    # Printed first, so that nothing is lost where the picture cannot be written.
    print(json.dumps(found, indent=2) if form == "json" else as_markdown(found))
    if confusion:
        figures.save(figures.confusion_matrix(found["confusion"], list(found["class_error"])), confusion)


def _evaluate_all(dataset, data_dir, form):
    """`cifarzoo evaluate --all`: a row a published file; exit status 1 where one is not as published."""
    from cifarzoo.evaluation.evaluate import COMPARED, evaluate_published

    rows, wrong = [], []
    if form == "markdown":
        print("| weights | data | " + " | ".join(COMPARED.values()) + " | images/s |")
        print("| --- | --- |" + " ---: |" * (len(COMPARED) + 1))
    for entry, metrics, difference in evaluate_published(dataset, data_dir):
        rows.append({"weights": entry.tag, "dataset": entry.dataset, "metrics": metrics, "differs": difference})
        if metrics and form == "markdown":
            cells = [f"{metrics[key]:.{2 if 'error' in key else 4}f}" for key in COMPARED]
            print(f"| {entry.tag} | {entry.dataset} | {' | '.join(cells)} | {metrics['images_per_second']:,.0f} |")
        if difference:
            wrong.append(f"{entry.tag}: {difference}")
    if form == "json":
        print(json.dumps(rows, indent=2))
    if wrong:
        raise CifarzooError(f"not as published: {'; '.join(wrong)}")


@commands.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run, logdir/run_name/seed0.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; default report.html in the run's folder.")] = None,
    images: Annotated[
        int, typer.Option(min=0, help="Images of the loss slices, the slowest part; 0 leaves them out.")
    ] = 500,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Write one self-contained HTML page on a run: numbers, curves, calibration, confusion, loss slices."""
    from cifarzoo.evaluation.report import write_report

    find_modules(Path())
    print(write_report(run, out, data_dir, images))
