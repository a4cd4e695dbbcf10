"""The command line: a function for each command of `cifarzoo`."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cifarzoo._version import __version__
from cifarzoo.errors import CifarzooError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DataDir = Annotated[str | None, typer.Option(help="Folder with the official archives; default $CIFARZOO_DATA.")]


def main() -> None:
    """Run the command line; an error that a person can put right is one line and exit status 1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter would drown the progress
    try:
        app()
    except CifarzooError as failure:
        if "--debug" in sys.argv:
            raise
        print(f"cifarzoo: error: {failure}", file=sys.stderr)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """A Keras 3 model zoo for CIFAR-10 and CIFAR-100."""
    if version:
        print(f"cifarzoo {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(help="Shell pattern of names.")] = "*",
    pretrained: Annotated[bool, typer.Option(help="Only models with published weights.")] = False,
    debug: Debug = False,
) -> None:
    """All models: parameters and multiply-accumulates with ten classes, paper, published weights."""
    import fnmatch

    import rich.console
    import rich.table

    from cifarzoo.models.catalogue import catalogue
    from cifarzoo.pretrained import manifest

    published = {}
    for entry in manifest():
        published.setdefault(entry.model, []).append(f"{entry.tag} ({entry.metrics['error']:.2f} %)")
    table = rich.table.Table(box=None)
    for column, justify in (
        ("model", "left"),
        ("parameters", "right"),
        ("MMACs", "right"),
        ("paper", "left"),
        ("weights", "left"),
    ):
        table.add_column(column, justify=justify, no_wrap=column != "weights")
    for name, record in catalogue().items():
        if fnmatch.fnmatch(name, pattern) and (name in published or not pretrained):
            cells = [f"{record.total['10']:,}", f"{record.macs['10'] / 1e6:,.1f}", f"{record.paper} ({record.year})"]
            table.add_row(name, *cells, ", ".join(published.get(name, [])))
    # A terminal gets its own width; a file or a pipe the whole lines.
    rich.console.Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A model's name or alias.")],
    debug: Debug = False,
) -> None:
    """One model: arguments, sizes, paper, published weights."""
    from cifarzoo.models.catalogue import find
    from cifarzoo.pretrained import manifest

    record = find(model)
    arguments = ", ".join(f"{key}={value!r}" for key, value in record.arguments.items())
    print(f"{record.name}({arguments})\n{record.summary}\n\n{record.paper} ({record.year})")
    for classes in ("10", "100"):
        print(
            f"{classes:>3} classes: {record.trainable[classes]:,} trainable parameters, "
            f"{record.total[classes]:,} in all, {record.macs[classes] / 1e6:,.2f} M multiply-accumulates"
        )
    if record.aliases:
        print(f"also known as {', '.join(record.aliases)}")
    for entry in manifest():
        if entry.model == record.name:
            print(
                f"weights {entry.tag}: {entry.architecture}, {entry.dataset}, error {entry.metrics['error']:.2f} %, "
                f"{entry.bytes / 1e6:.1f} MB{', default' if entry.default else ''}"
            )


@app.command()
def train(
    file: Annotated[Path, typer.Argument(help="Experiments, one a YAML document.")] = Path("experiments.yaml"),
    only: Annotated[list[str], typer.Option(help="Name of an experiment of the file; may be repeated.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", help="KEY=VALUE for every experiment, dotted keys.")] = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option(help="Print the resolved experiments and what they cost; train nothing.")
    ] = False,
    eval_: Annotated[
        bool, typer.Option("--eval", help="Measure the finished runs of the file again; train nothing.")
    ] = False,
    quickstart: Annotated[
        bool, typer.Option(help="ResNet-20 on the embedded data set, a few minutes on two cores.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Train every experiment of a file, after a quick check of all of them."""
    from cifarzoo.training import runner
    from cifarzoo.training.experiment import quickstart_experiment, read_experiments

    sys.path.insert(0, str(file.resolve().parent))  # for a `module` that lies beside the file
    experiments = [quickstart_experiment(set_)] if quickstart else read_experiments(file, set_)
    experiments = runner.only_named(experiments, only, file)
    runner.set_backend(experiments)
    if dry_run:
        from cifarzoo.training.estimate import print_plan

        print_plan(experiments)
        return
    if eval_:
        from cifarzoo.evaluation.evaluate import evaluate_runs
        from cifarzoo.training.tables import format_rows

        print(format_rows(evaluate_runs(experiments), "markdown"))
        return
    outcomes = runner.run_all(experiments)
    import rich

    rich.print(runner.results_table(outcomes))
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(help="A model's name, a published tag or file, a .keras file, or the folder of a run."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="cifar10, cifar100 or synthetic; default: what it was trained on.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Tag or path of the weights, instead of the default ones.")
    ] = None,
    argument: Annotated[list[str], typer.Option(help="KEY=VALUE for the factory; may be repeated.")] = [],  # noqa: B006
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
        _refuse(context, "--all", "weights argument split flip logits confusion")
        _evaluate_all(dataset, data_dir, form)
        return
    if confusion:
        from cifarzoo.evaluation import figures

        figures.check()
    if from_logits:
        _refuse(context, "--from-logits", "dataset weights argument flip logits")
        found = load_predictions(from_logits).describe(split)
    else:
        sys.path.insert(0, os.getcwd())  # for the `module` of a run
        arguments = _factory_arguments(argument)
        found = evaluate_named(model, dataset, data_dir, split, logits, flip, tag=weights, arguments=arguments)
    if confusion:
        figures.save(figures.confusion_matrix(found["confusion"], list(found["class_error"])), confusion)
    print(json.dumps(found, indent=2) if form == "json" else as_markdown(found))


def _factory_arguments(items):
    """What `--argument KEY=VALUE` was given, values in YAML."""
    from cifarzoo.training.experiment import parse_yaml

    pairs = ((item, *item.partition("=")) for item in items)
    return {key: parse_yaml(value, f"--argument {item}") for item, key, _, value in pairs}


def _refuse(context, why, names):
    """Raise an ExperimentError if one of these options is given, which `why` would silently overrule."""
    from cifarzoo.errors import ExperimentError

    for name in names.split():
        if context.get_parameter_source(name).name == "COMMANDLINE":
            raise ExperimentError(f"--{name.rstrip('_').replace('_', '-')}: has no meaning with {why}; leave it out")


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


@app.command()
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

    sys.path.insert(0, os.getcwd())  # for the `module` of a run
    print(write_report(run, out, data_dir, images))


@app.command()
def sharpness(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model's name, a published tag or file, or the folder of a run.")],
    dataset: Annotated[
        str | None, typer.Option(help="cifar10, cifar100 or synthetic; default: what it was trained on.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Tag or path of the weights, instead of the default ones.")
    ] = None,
    argument: Annotated[list[str], typer.Option(help="KEY=VALUE for the factory; may be repeated.")] = [],  # noqa: B006
    on: Annotated[
        list[str] | None, typer.Option(help="batch (default), train, test, train45k or validation; may be repeated.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="hessian_trace, fisher_trace, ntk_trace, largest_eigenvalue or epsilon_sharpness; "
            "may be repeated; default: all."
        ),
    ] = None,
    loss: Annotated[str, typer.Option(help="cross_entropy or squared.")] = "cross_entropy",
    weight_decay: Annotated[
        float | None, typer.Option(help="Of the loss; default 0, with --compat cifar_jax its 5e-4.")
    ] = None,
    decay_all: Annotated[bool, typer.Option(help="Decay biases and BatchNormalization too, not only kernels.")] = False,
    batch_norm: Annotated[str, typer.Option(help="inference, or batch: statistics of each chunk.")] = "inference",
    normalization: Annotated[str, typer.Option(help="mean, sum or parameters.")] = "mean",
    precision: Annotated[float, typer.Option(help="Relative standard error at which to stop.")] = 0.05,
    max_products: Annotated[int, typer.Option(help="At most about so many calls on a chunk for each measure.")] = 2000,
    batch_size: Annotated[
        int | None, typer.Option(help="Images of `batch`; default 1000, with --compat cifar_jax its 10000.")
    ] = None,
    chunk: Annotated[int, typer.Option(help="Images in one compiled call.")] = 125,
    epsilon: Annotated[float, typer.Option(help="Of epsilon_sharpness.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of batch and probes.")] = 0,
    compat: Annotated[
        str | None, typer.Option(help="cifar_jax: that repository's columns and scales instead of all the above.")
    ] = None,
    devices: Annotated[int, typer.Option(help="With --compat cifar_jax: over how many it spread a batch.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="The TSV to write; default, in a run's folder, curvature.tsv, with --compat sharpness.tsv."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Measure the curvature of the loss: traces of Hessian, Fisher and NTK, largest eigenvalue, epsilon-sharpness."""
    from cifarzoo.data import load
    from cifarzoo.errors import ModelError
    from cifarzoo.evaluation import sharpness as curvature
    from cifarzoo.evaluation.evaluate import find_subject

    if compat not in (None, "cifar_jax"):
        raise ModelError(f"--compat is cifar_jax, got {compat!r}")
    if compat:
        _refuse(context, "--compat cifar_jax", "on measure loss decay_all batch_norm normalization epsilon")
    if out is None and Path(model).is_dir():
        out = Path(model) / ("sharpness.tsv" if compat else "curvature.tsv")
    sys.path.insert(0, os.getcwd())  # for the `module` of a run
    subject = find_subject(model, weights, _factory_arguments(argument))
    data = load(dataset or subject.dataset, data_dir)
    common = {"precision": precision, "max_products": max_products, "seed": seed, "chunk": chunk}
    if weight_decay is not None:
        common["weight_decay"] = weight_decay
    if batch_size is not None:
        common["batch_size"] = batch_size
    if compat:
        rows = [curvature.cifar_jax_row(subject.model, data, devices=devices, **common)]
    else:
        rows = curvature.measure(
            subject.model,
            data,
            on or ["batch"],
            measure or curvature.MEASURES,
            normalization,
            epsilon=epsilon,
            loss=loss,
            decay_all=decay_all,
            batch_norm=batch_norm,
            **common,
        )
    # Printed first, so that nothing is lost where the file cannot be written.
    print(json.dumps(rows, indent=2) if as_json else curvature.format_tsv(rows, ".4f" if compat else ".6g"))
    if out is not None:
        curvature.write_tsv(rows, out, ".4f" if compat else "")


@app.command()
def table(
    runs: Annotated[list[Path], typer.Argument(help="Folders that hold finished runs, searched to any depth.")],
    file: Annotated[
        str | None, typer.Option(help="Instead of the results, the last rows of this table of every run: log.tsv.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="markdown, tsv or json.")] = "markdown",
    debug: Debug = False,
) -> None:
    """One row an experiment: mean and standard deviation over seeds, of its error or of all columns of a table."""
    from cifarzoo.training.tables import format_rows, summarize, summarize_file

    print(format_rows(summarize_file(runs, file) if file else summarize(runs), form))


@app.command()
def log(
    run: Annotated[Path, typer.Argument(help="The folder of a run, logdir/run_name/seed0.")],
    debug: Debug = False,
) -> None:
    """Print a run's log.tsv with the columns and scaling of cifar_jax, a row a validation."""
    from cifarzoo.training.tables import cifar_jax_log

    print(cifar_jax_log(run / "log.tsv"))


@app.command()
def augment(
    preview: Annotated[str, typer.Option(help="A named augmentation, or a list in YAML.")],
    out: Annotated[Path, typer.Argument(help="The PNG file to write.")],
    dataset: Annotated[str, typer.Option(help="cifar10, cifar100 or synthetic.")] = "synthetic",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Draw a gallery of augmented training images."""
    from cifarzoo.augment.preview import draw_gallery
    from cifarzoo.data import load
    from cifarzoo.data.statistics import mean_colour
    from cifarzoo.training.experiment import parse_yaml

    data = load(dataset, data_dir)
    images, labels = data.train.images[:8], data.train.labels[:8]
    description = parse_yaml(preview, "--preview")
    draw_gallery(description, images, labels, out, classes=data.classes, fill=mean_colour(dataset))
    print(out)


@app.command()
def factory(
    budget: Annotated[str, typer.Option(help="How long to train at most, for example 20m or 1.5h.")],
    only: Annotated[str | None, typer.Option(help="Shell pattern of tags.")] = None,
    rows: Annotated[Path, typer.Option(help="The wanted rows.")] = Path("recipes/zoo.yaml"),
    weights: Annotated[Path, typer.Option(help="The weights folder.")] = Path("weights"),
    logdir: Annotated[str, typer.Option(help="Where half-done and finished runs lie.")] = "runs/factory",
    plan: Annotated[bool, typer.Option(help="Only print the open rows and their estimated times.")] = False,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Train and publish the wanted rows that the manifest lacks, as far as the budget goes."""
    from cifarzoo.factory import Factory, only_matching, parse_budget, read_rows

    seconds = parse_budget(budget)
    plant = Factory(only_matching(read_rows(rows, logdir), only), weights, data_dir)
    if plan:
        for row in plant.open_rows():
            print(f"{row.tag:40} {plant.seconds_left(row) / 60:8.0f} min")
        return
    plant.work(seconds)


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    tag: Annotated[str, typer.Argument(help="Name of the weights.")],
    weights: Annotated[Path, typer.Option(help="The weights folder.")] = Path("weights"),
    recipe: Annotated[str, typer.Option(help="What the way of training is called in the table.")] = "",
    default: Annotated[bool, typer.Option("--default", help="Make it what load_weights=True loads.")] = False,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Publish a run's weights: evaluate the file on the test images, write manifest entry, golden logits and card."""
    import yaml

    from cifarzoo.data import load
    from cifarzoo.publishing import GOLDEN_IMAGES
    from cifarzoo.publishing import publish as publish_run

    name = (
        yaml.safe_load((run / "config.yaml").read_text())["dataset"] if (run / "config.yaml").is_file() else "cifar10"
    )
    golden = load("synthetic").test.images[:GOLDEN_IMAGES]
    entry = publish_run(run, tag, load(name, data_dir), weights, golden, recipe, default)
    print(f"{entry.tag}: error {entry.metrics['error']:.2f} % of {entry.metrics['n']} test images")
