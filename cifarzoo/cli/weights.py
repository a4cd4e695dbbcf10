"""Commands that fill the table of published weights."""

from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.options import DataDir, Debug, refuse

commands = typer.Typer()


@commands.command()
def factory(
    context: typer.Context,
    budget: Annotated[str | None, typer.Option(help="How long to train at most, for example 20m or 1.5h.")] = None,
    only: Annotated[str | None, typer.Option(help="Shell pattern of tags.")] = None,
    rows: Annotated[Path, typer.Option(help="The wanted rows.")] = Path("recipes/zoo.yaml"),
    weights: Annotated[Path, typer.Option(help="The weights folder.")] = Path("weights"),
    logdir: Annotated[str, typer.Option(help="Where half-done and finished runs lie.")] = "runs/factory",
    plan: Annotated[bool, typer.Option(help="Only print the open rows and rough times.")] = False,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Train and publish the wanted rows that the manifest lacks, as far as the budget goes."""
    from cifarzoo.errors import ExperimentError, summarize
    from cifarzoo.publishing.wanted import only_matching, parse_budget, read_rows
    from cifarzoo.training.engines.cluster import is_described
    from cifarzoo.training.runner import set_backend

    if plan:
        refuse(context, "--plan", "budget")
    if budget is None and not plan:
        raise ExperimentError("--budget: missing; give a time such as 20m, or --plan to see what there is to do")
    if is_described():
        raise ExperimentError("TF_CONFIG: set, but the factory trains on one machine; unset it")
    seconds = parse_budget(budget) if budget else 0.0
    wanted = only_matching(read_rows(rows, logdir), only)
    set_backend([row.experiment for row in wanted])
    from cifarzoo.publishing.queue import Factory

    plant = Factory(wanted, weights, data_dir)
    if plan:
        for row in plant.open_rows():
            try:
                print(f"{row.tag:40} {plant.rough_seconds(row) / 60:8.0f} min")
            except Exception as failure:  # one row must not hide the others
                print(f"{row.tag:40} {summarize(failure)}")
        for row in plant.changed_rows():
            print(f"{row.tag:40} published from another version of its recipe")
        return
    _, failed = plant.work(seconds)
    if failed:
        raise typer.Exit(1)


@commands.command()
def publish(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    tag: Annotated[str, typer.Argument(help="Name of the weights.")],
    weights: Annotated[Path, typer.Option(help="The weights folder.")] = Path("weights"),
    recipe: Annotated[str, typer.Option(help="What the way of training is called in the table.")] = "",
    default: Annotated[bool, typer.Option("--default", help="Make it what load_weights=True loads.")] = False,
    remark: Annotated[str, typer.Option(help="What a reader of the error must know.")] = "",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Publish a run's weights: evaluate the file on the test images, write manifest entry, golden logits and card."""
    from cifarzoo.data import load
    from cifarzoo.publishing.publish import GOLDEN_IMAGES
    from cifarzoo.publishing.publish import publish as publish_run
    from cifarzoo.runs.folder import RunFolder

    golden = load("synthetic").test.images[:GOLDEN_IMAGES]
    folder = RunFolder(run)
    dataset = load(folder.experiment().dataset, data_dir)
    entry = publish_run(folder, tag, dataset, weights, golden, recipe, default, remark=remark)
    print(f"{entry.tag}: error {entry.metrics['error']:.2f} % of {entry.metrics['n']} test images")


@commands.command()
def prefer(
    tag: Annotated[str, typer.Argument(help="Name of published weights.")],
    weights: Annotated[Path, typer.Option(help="The weights folder.")] = Path("weights"),
    debug: Debug = False,
) -> None:
    """Make published weights those of load_weights=True, as the 45,000/5,000 split has decided."""
    from cifarzoo.publishing.publish import prefer as make_default

    make_default(tag, weights)
    print(f"{tag}: what load_weights=True loads")
