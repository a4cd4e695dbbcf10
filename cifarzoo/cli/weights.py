"""Commands that fill the table of published weights."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.completion import complete_tag
from cifarzoo.cli.options import DataDir, Debug, refuse
from cifarzoo.cli.progress import progress_bar

commands = typer.Typer()
UNITS = {"s": 1, "m": 60, "h": 3600}


@commands.command()
def fill_zoo(
    context: typer.Context,
    budget: Annotated[str | None, typer.Option(help="Maximum training time, for example 20m or 1.5h.")] = None,
    only: Annotated[str | None, typer.Option(help="Shell pattern of tags.")] = None,
    rows: Annotated[Path, typer.Option(help="The wanted rows.")] = Path("recipes/zoo.yaml"),
    weights: Annotated[Path, typer.Option(help="The weights folder.")] = Path("weights"),
    logdir: Annotated[str, typer.Option(help="Folder of half-trained and finished runs.")] = "runs/zoo",
    plan: Annotated[bool, typer.Option("--plan", help="Only print the open rows and rough times.")] = False,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Train and publish the wanted rows that are not published yet, within a time budget.

    The same command resumes it, also after Ctrl-C, which ends it with status 75.
    """
    from cifarzoo.errors import ExperimentError, summarize
    from cifarzoo.publishing.wanted import only_matching, read_rows
    from cifarzoo.training.engines.cluster import is_described
    from cifarzoo.training.runner import set_backend

    if plan:
        refuse(context, "--plan", "budget")
    if budget is None and not plan:
        raise ExperimentError("--budget: missing; give a time such as 20m, or --plan to list what is left to do")
    if is_described():
        raise ExperimentError("TF_CONFIG: set, but fill-zoo trains on one machine; unset it")
    seconds = parse_budget(budget) if budget else 0.0
    wanted_rows = only_matching(read_rows(rows, logdir), only)
    set_backend([row.experiment for row in wanted_rows])
    from cifarzoo.publishing.queue import TrainingQueue
    from cifarzoo.publishing.weights_folder import WeightsFolder
    from cifarzoo.training.outcomes import STOPPED

    queue = TrainingQueue(wanted_rows, WeightsFolder(weights), data_dir)
    if plan:
        for row in queue.open_rows():
            try:
                print(f"{row.tag:40} {queue.rough_seconds(row) / 60:8.0f} min")
            except Exception as failure:  # one row must not hide the others
                print(f"{row.tag:40} {summarize(failure)}")
        for row in queue.changed_rows():
            print(f"{row.tag:40} published from another version of its recipe")
        return
    work = queue.work(seconds, progress_bar)
    if work.is_stopped:
        raise typer.Exit(STOPPED)
    if work.failed:
        raise typer.Exit(1)


def parse_budget(text: str) -> float:
    """Seconds of a budget such as "20m", "1.5h" or "90s".

    Raises:
        ExperimentError: it is not a number and a unit.
    """
    from cifarzoo.errors import ExperimentError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not match:
        raise ExperimentError(f"--budget {text}: expected a number and s, m or h, for example 20m")
    return float(match[1]) * UNITS[match[2]]


@commands.command()
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    tag: Annotated[str, typer.Argument(help="Name of the weights.")],
    weights: Annotated[Path, typer.Option(help="The weights folder.")] = Path("weights"),
    recipe: Annotated[str, typer.Option(help="Name of the recipe in the tables.")] = "",
    default: Annotated[bool, typer.Option("--default", help="Let load_weights=True load them.")] = False,
    remark: Annotated[str, typer.Option(help="What a reader of the error must know.")] = "",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Publish a run's weights: evaluate the file on the test images, write manifest, golden logits, card and report."""
    from cifarzoo.errors import CifarzooError

    problem = ""
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.data import load
        from cifarzoo.publishing.publish import publish as publish_run
        from cifarzoo.publishing.report_page import write_report_page
        from cifarzoo.publishing.weights_folder import WeightsFolder
        from cifarzoo.runs.folder import RunFolder

        folder, weights_folder = RunFolder(run), WeightsFolder(weights)
        dataset = load(folder.experiment().dataset, data_dir)
        share = 0.6  # fraction of the time before the report
        entry = publish_run(
            folder,
            dataset,
            weights_folder,
            tag,
            recipe,
            remark=remark,
            progress=lambda step, done: show(step, share * done),
        )
        if default:
            weights_folder.prefer(tag)
        try:
            write_report_page(
                entry, weights_folder, data_dir, lambda step, done: show(step, share + (1 - share) * done)
            )
        except CifarzooError as failure:
            problem = f"without its report: {failure}"
    print(f"{entry.tag}: error {entry.metrics['error']:.2f} % of {entry.metrics['n']} test images")
    if problem:
        print(f"cifarzoo: warning: {entry.tag}: published {problem}", file=sys.stderr)


@commands.command()
def push(
    tag: Annotated[str, typer.Argument(help="Name of published weights.", autocompletion=complete_tag)],
    destination: Annotated[str, typer.Argument(help="hf://USER/REPOSITORY, or a folder for the same files.")],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of a repository or folder that holds some.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Put published weights on the Hugging Face Hub, with a card that its tables of results read."""
    from cifarzoo.publishing.hub import push as push_weights

    print(push_weights(tag, destination, private, overwrite))


@commands.command()
def prefer(
    tag: Annotated[str, typer.Argument(help="Name of published weights.", autocompletion=complete_tag)],
    weights: Annotated[Path, typer.Option(help="The weights folder.")] = Path("weights"),
    debug: Debug = False,
) -> None:
    """Let load_weights=True load these weights, once the 45,000/5,000 split has decided."""
    from cifarzoo.publishing.weights_folder import WeightsFolder

    WeightsFolder(weights).prefer(tag)
    print(f"{tag}: load_weights=True loads it now")
