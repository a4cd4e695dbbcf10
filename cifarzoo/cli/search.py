"""The command that searches for augmentation policies."""

from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.options import Address, Cpus, Debug, Executor, Gpus, check_executor
from cifarzoo.cli.output import Column, Format, print_rows
from cifarzoo.cli.progress import progress_bar
from cifarzoo.errors import ExperimentError
from cifarzoo.user_code import find_modules

commands = typer.Typer()
DEFAULT_FILE = Path("search.yaml")

# Objectives with sampled probabilities and levels; those of the others are fixed, and a test of them says nothing.
SAMPLED = ("official", "uniform")
LIST_COLUMNS = [
    Column("objective"),
    Column("sub_policies", "sub-policies", ",", numeric=True),
    Column("accuracy", "expected accuracy %", ".2f"),
    Column("unchanged", "unchanged accuracy %", ".2f"),
    Column("p_operations", "p: operations", ".2g"),
    Column("p_probabilities", "p: probabilities", ".2g", rank=1),
    Column("p_levels", "p: levels", ".2g", rank=1),
    Column("file"),
]


@commands.command()
def search(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="The plan: networks, folds, images and selection, in YAML.")
    ] = DEFAULT_FILE,
    objective: Annotated[
        list[str], typer.Option(help="official, mean, band or uniform. Repeatable. Default: all.")
    ] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", help="KEY=VALUE of the plan. Repeatable.")] = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved plan and what it costs; train nothing.")
    ] = False,
    executor: Executor = "local",
    address: Address = None,
    cpus: Cpus = 1,
    gpus: Gpus = None,
    form: Format = "",
    debug: Debug = False,
) -> None:
    """Search for augmentation policies: train networks on folds, measure all policies, select lists.

    The same command resumes a search that was stopped or killed. The exit status is 75 if it was stopped and saved.
    """
    from cifarzoo.search.plan import OBJECTIVES, read_plan
    from cifarzoo.training import runner

    if unknown := [name for name in objective if name not in OBJECTIVES]:
        raise ExperimentError(f"--objective {unknown[0]}: expected {', '.join(OBJECTIVES)}")
    if file == DEFAULT_FILE and not file.exists():
        raise ExperimentError(f"{file}: no such file; name another (docs/search.md describes the format)")
    check_executor(context, executor)
    plan = read_plan(file, set_)
    experiments = plan.experiments()
    modules = file.resolve().parent if any(experiment.modules for experiment in experiments) else None
    if modules:
        find_modules(modules)
    runner.set_backend(experiments)
    wanted = [name for name in OBJECTIVES if not objective or name in objective]
    if dry_run:
        from cifarzoo.search.dry_run import print_plan

        plan.check(wanted)
        print_plan(plan, wanted)
        return
    from cifarzoo.search.policy_list import read_header
    from cifarzoo.search.stages import search as carry_out
    from cifarzoo.training.outcomes import STOPPED
    from cifarzoo.training.stopping import Interrupted

    try:
        if executor == "ray":
            from cifarzoo.on_ray.cluster import connected
            from cifarzoo.on_ray.search import OnRay
            from cifarzoo.on_ray.tasks import Resources

            with connected(address) as ray:
                paths = carry_out(plan, wanted, progress_bar, OnRay(ray, Resources(cpus, gpus), modules))
        else:
            paths = carry_out(plan, wanted, progress_bar)
    except Interrupted as end:
        typer.echo(str(end), err=True)
        raise typer.Exit(STOPPED) from None
    rows = []
    for name, path in paths.items():
        header = read_header(path)
        rows.append(
            {
                "objective": name,
                "sub_policies": header["sub_policies"],
                "accuracy": header.get("expected", {}).get("accuracy"),
                "unchanged": header.get("unchanged", {}).get("accuracy"),
                **{
                    f"p_{part}": test["p"]
                    for part, test in header["uniformity"].items()
                    if name in SAMPLED or part == "operations"
                },
                "file": str(path),
            }
        )
    print_rows(rows, LIST_COLUMNS, form, title="Lists")
