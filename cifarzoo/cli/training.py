"""Commands that train, and that read what runs wrote."""

from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.completion import complete_experiments
from cifarzoo.cli.options import Address, Cpus, Debug, Executor, Gpus, check_executor, refuse
from cifarzoo.cli.output import Column, Format, columns_of, print_rows
from cifarzoo.errors import ExperimentError
from cifarzoo.user_code import find_modules

commands = typer.Typer()
DEFAULT_FILE = Path("experiments.yaml")

# Columns of the table at the end of `cifarzoo train`.
RESULT_COLUMNS = [
    Column("experiment"),
    Column("seed", numeric=True),
    Column("error", "error %", ".2f"),
    Column("nll", "loss", ".4g"),
    Column("minutes", spec=",.1f"),
    Column("state"),
    Column("split", rank=3),
    Column("dataset", "data", rank=2),
    Column("steps", spec=",", rank=1),
]


# Columns of `cifarzoo train @`.
SHIPPED_COLUMNS = [
    Column("file"),
    Column("experiments", spec=lambda names: str(len(names)), numeric=True, rank=1),
    Column("what"),
]

# Columns of `cifarzoo table`; `--sort` takes their names in JSON, TSV and CSV.
SUMMARY_COLUMNS = [
    Column("experiment"),
    Column("dataset", "data", rank=3),
    Column("split", rank=4),
    Column("n", "seeds", numeric=True),
    Column("error_mean", "error %", ".3f"),
    Column("error_std", "±", ".3f"),
    Column("nll_mean", "loss", ".4g"),
    Column("steps", spec=",", rank=2),
    Column("minutes_mean", "minutes", ",.1f", rank=1),
]


@commands.command()
def train(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            help="Experiments, one per YAML document. @NAME is a file of cifarzoo, such as @vgg; @ lists them.",
            autocompletion=complete_experiments,
        ),
    ] = DEFAULT_FILE,
    only: Annotated[
        list[str], typer.Option(help="Name of an experiment, or a pattern like '*-mixup'. Repeatable.")
    ] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", help="KEY=VALUE for every experiment. Repeatable.")] = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved experiments and what they cost; train nothing.")
    ] = False,
    eval_: Annotated[
        bool, typer.Option("--eval", help="Measure the finished runs of the file again; train nothing.")
    ] = False,
    quickstart: Annotated[
        bool, typer.Option("--quickstart", help="ResNet-20 on the embedded data set, a few minutes on two cores.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="Train part 3/8 of the runs only; the jobs of an array train one part each.")
    ] = None,
    executor: Executor = "local",
    address: Address = None,
    cpus: Cpus = 1,
    gpus: Gpus = None,
    form: Format = "",
    debug: Debug = False,
) -> None:
    """Train every experiment of a file, after a quick check of all of them.

    The exit status is 1 if a run failed, and 75 if the batch was stopped and saved; the same command then resumes it.
    """
    from cifarzoo.experiment.files import only_matching, quickstart_experiment, read_experiments
    from cifarzoo.experiment.shipped import MARK
    from cifarzoo.training import runner

    if quickstart:
        refuse(context, "--quickstart", "file only shard")
    if dry_run:
        refuse(context, "--dry-run", "eval_")
    check_executor(context, executor)
    if file == Path(MARK):
        refuse(context, MARK, "only set_ dry_run eval_ shard quickstart")
        _print_shipped_files(form)
        return
    if file == DEFAULT_FILE and not quickstart and not file.exists():
        raise ExperimentError(
            f"{file}: no such file; name another (docs/experiments.md describes the format), choose one of cifarzoo's "
            "(cifarzoo train @ lists them), or try cifarzoo train --quickstart"
        )
    experiments = [quickstart_experiment(set_)] if quickstart else read_experiments(file, set_)
    experiments = everything = only_matching(experiments, only, file)
    if shard:
        from cifarzoo.experiment.sharding import describe_shard, parse_shard, runs_of
        from cifarzoo.notebook import say

        part = parse_shard(shard)
        experiments = runs_of(everything, part)
        say(describe_shard(part, experiments, everything))
    # A teacher may be a run of a network of the user's own.
    modules = file.resolve().parent if any(one.modules or one.teacher for one in experiments) else None
    if modules:
        find_modules(modules)
    if executor == "local" or dry_run or eval_:
        runner.set_backend(experiments)
    if dry_run:
        from cifarzoo.training.dry_run import print_plan

        if print_plan(experiments):
            raise typer.Exit(1)
        return
    if eval_:
        from cifarzoo.evaluation.evaluate import evaluate_runs

        rows = evaluate_runs(experiments)
        print_rows(rows, columns_of(rows), form)
        return
    if executor == "ray":
        from cifarzoo.on_ray.batch import train_on
        from cifarzoo.on_ray.cluster import connected
        from cifarzoo.on_ray.tasks import Resources

        with connected(address) as ray:
            outcomes = train_on(ray, experiments, Resources(cpus, gpus), modules)
    else:
        outcomes = runner.run_all(experiments)
    from cifarzoo.training.outcomes import exit_status, result_rows, with_others

    print_rows(result_rows(with_others(outcomes, everything)), RESULT_COLUMNS, form, title="Runs")
    if status := exit_status(outcomes):
        raise typer.Exit(status)


def _print_shipped_files(form: str) -> None:
    from cifarzoo.experiment.files import read_experiments
    from cifarzoo.experiment.shipped import MARK, shipped_files, summary

    rows = [
        {
            "file": f"{MARK}{name}",
            "what": summary(path),
            "experiments": [experiment.name for experiment in read_experiments(path)],
            "path": str(path),
        }
        for name, path in shipped_files().items()
    ]
    print_rows(rows, SHIPPED_COLUMNS, form)


@commands.command()
def table(
    runs: Annotated[list[Path], typer.Argument(help="Folders that hold finished runs, searched to any depth.")],
    file: Annotated[
        str | None, typer.Option(help="Summarize the last row of this table, such as log.tsv, instead of the results.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="Column to sort by, such as error or minutes; -error puts the largest first.")
    ] = None,
    form: Format = "",
    debug: Debug = False,
) -> None:
    """Print one row per experiment: mean and standard deviation over its seeds."""
    from cifarzoo.runs.tables import sorted_rows, summarize, summarize_file

    rows = summarize_file(runs, file) if file else summarize(runs)
    rows = sorted_rows(rows, sort) if sort else rows
    print_rows(rows, columns_of(rows) if file else SUMMARY_COLUMNS, form)


@commands.command()
def log(
    run: Annotated[Path, typer.Argument(help="The folder of a run, logdir/run_name/seed0.")],
    debug: Debug = False,
) -> None:
    """Print a run's log.tsv with the columns and scales of cifar_jax, one row per validation."""
    from cifarzoo.evaluation.cifar_jax import format_log
    from cifarzoo.runs.folder import RunFolder

    print(format_log(RunFolder(run).log_path))
