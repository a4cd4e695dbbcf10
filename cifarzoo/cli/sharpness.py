"""The command that measures the curvature of the loss."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cifarzoo.cli.completion import complete_network
from cifarzoo.cli.evaluation import MODEL_HELP
from cifarzoo.cli.options import (
    Arguments,
    DataDir,
    DatasetName,
    Debug,
    Weights,
    factory_arguments,
    refuse,
)
from cifarzoo.cli.output import Format, columns_of, print_rows
from cifarzoo.cli.progress import progress_bar
from cifarzoo.errors import ModelError
from cifarzoo.user_code import find_modules

commands = typer.Typer()


@commands.command()
def sharpness(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help=MODEL_HELP, autocompletion=complete_network)],
    dataset: DatasetName = None,
    weights: Weights = None,
    argument: Arguments = [],  # noqa: B006
    on: Annotated[
        list[str] | None, typer.Option(help="Images: batch (default), train, test, train45k or validation. Repeatable.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="hessian_trace, fisher_trace, ntk_trace, largest_eigenvalue or epsilon_sharpness. Repeatable. "
            "Default: all."
        ),
    ] = None,
    loss: Annotated[str, typer.Option(help="cross_entropy or squared.")] = "cross_entropy",
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay in the loss. Default: 0; with --compat cifar_jax 5e-4.")
    ] = None,
    decay_all: Annotated[
        bool, typer.Option("--decay-all", help="Decay all parameters instead of kernels only.")
    ] = False,
    batch_norm: Annotated[
        str, typer.Option(help="inference: moving statistics; batch: statistics of each chunk.")
    ] = "inference",
    normalization: Annotated[
        str, typer.Option(help="mean or sum over images; parameters: mean, traces per parameter.")
    ] = "mean",
    precision: Annotated[float, typer.Option(help="Relative standard error at which to stop.")] = 0.05,
    max_products: Annotated[int, typer.Option(help="Approximate limit on calls on a chunk, per measure.")] = 2000,
    batch_size: Annotated[
        int | None, typer.Option(help="Images of --on batch. Default: 1000; with --compat cifar_jax 10000.")
    ] = None,
    chunk: Annotated[int, typer.Option(help="Images per compiled call.")] = 125,
    epsilon: Annotated[float, typer.Option(help="Relative size of the box of epsilon_sharpness.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the batch and the probes.")] = 0,
    compat: Annotated[str | None, typer.Option(help="cifar_jax: the columns and scales of that repository.")] = None,
    devices: Annotated[int, typer.Option(help="With --compat cifar_jax: devices over which it spreads a batch.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="TSV file to write. Default for a run: curvature.tsv in its folder (--compat: sharpness.tsv)."
        ),
    ] = None,
    data_dir: DataDir = None,
    form: Format = "",
    debug: Debug = False,
) -> None:
    """Measure the curvature of the loss: traces of Hessian, Fisher and NTK, largest eigenvalue, epsilon-sharpness."""
    if compat not in (None, "cifar_jax"):
        raise ModelError(f"--compat {compat}: expected cifar_jax")
    if compat:
        refuse(context, "--compat cifar_jax", "on measure loss decay_all batch_norm normalization epsilon")
    else:
        refuse(context, "the measures of this package", "devices")
        if on and "batch" not in on:
            refuse(context, f"--on {on[0]}", "batch_size")
        if measure and "epsilon_sharpness" not in measure:
            refuse(context, f"--measure {measure[0]}", "epsilon")
    if out is None and Path(model).is_dir():
        out = Path(model) / ("sharpness.tsv" if compat else "curvature.tsv")
    find_modules(Path())
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.evaluation import sharpness as curvature
        from cifarzoo.evaluation.cifar_jax import sharpness_row
        from cifarzoo.evaluation.load_model import load_model
        from cifarzoo.evaluation.measured_data import measured_data

        show(f"load {model}", 0)
        loaded = load_model(model, weights, factory_arguments(argument))
        data = measured_data(loaded, dataset, data_dir)
        common: dict[str, Any] = {"precision": precision, "max_products": max_products, "seed": seed, "chunk": chunk}
        if weight_decay is not None:
            common["weight_decay"] = weight_decay
        if batch_size is not None:
            common["batch_size"] = batch_size
        if compat:
            show("measure", 0)
            rows = [sharpness_row(loaded.model, data, devices=devices, **common)]
        else:
            rows = curvature.measure(
                loaded.model,
                data,
                on or ["batch"],
                measure or curvature.MEASURES,
                normalization,
                epsilon=epsilon,
                loss=loss,
                decay_all=decay_all,
                batch_norm=batch_norm,
                progress=show,
                **common,
            )
    # Print first: if the file cannot be written, the numbers are not lost.
    print_rows(rows, columns_of(rows, digits=".4f" if compat else ".6g"), form)
    if out is not None:
        curvature.write_rows(rows, out, ".4f" if compat else "")
