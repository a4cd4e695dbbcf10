"""The command that shows a model, published weights, a weight file or the folder of a run."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cifarzoo.cli.completion import complete_shown
from cifarzoo.cli.options import Debug
from cifarzoo.cli.output import Column, Format, print_record
from cifarzoo.errors import CifarzooError, WeightsError

if TYPE_CHECKING:
    from cifarzoo.conversion.entries import Entry
    from cifarzoo.models.catalogue import Record
    from cifarzoo.pretrained.manifest import Published

commands = typer.Typer()

WEIGHTS_COLUMNS = [
    Column("tag"),
    Column("dataset", "data", rank=1),
    Column("error", "error %", ".2f"),
    Column("bytes", "MB", ",.1f", unit=1e6, rank=2),
    Column("default"),
    Column("arguments"),
]

# How the facts of a converted file are called, unless by their keys.
LABELS = {
    "name": "source",
    "license_url": "text of the license",
    "reported_error": "reported error %",
    "content_sha256": "SHA-256 of the weights",
}
# Facts that only the cache needs; JSON has them.
INTERNAL = ("entry_sha256", "conversion")


@commands.command()
def show(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's name or alias, a tag of published weights, the name of another project's checkpoint, a "
            ".weights.h5 file, the folder of a run, or one of cifarzoo's files of experiments, such as @vgg.",
            autocompletion=complete_shown,
        ),
    ],
    form: Format = "",
    debug: Debug = False,
) -> None:
    """Show a model (arguments, sizes, paper, published weights), describe weights or a run, print experiments."""
    from cifarzoo.experiment.shipped import MARK
    from cifarzoo.models.catalogue import find
    from cifarzoo.pretrained.manifest import find_entry, manifest
    from cifarzoo.pretrained.selection import foreign_entry

    entries = manifest()
    if model.startswith(MARK):
        _show_experiments(model, form)
    elif entry := find_entry(model, entries):
        _show_published(entry, form)
    elif model.endswith(".h5"):
        _show_file(model, form)
    elif os.path.isdir(model):  # unlike Path.is_dir, this accepts names that are too long for a path
        _show_run(Path(model), form)
    elif checkpoint := foreign_entry(model):
        _show_checkpoint(checkpoint, form)
    else:
        _show_model(find(model), entries, form)


def _show_experiments(name: str, form: str) -> None:
    from cifarzoo.experiment.files import read_experiments
    from cifarzoo.experiment.shipped import locate

    path, _ = locate(name)
    if form in ("json", "tsv", "csv"):
        experiments = [experiment.resolved() for experiment in read_experiments(name)]
        print_record(name, {}, form, {"path": str(path), "experiments": experiments})
    else:
        print(path.read_text(encoding="utf-8"), end="")


def _show_model(record: "Record", entries: "list[Published]", form: str) -> None:
    from cifarzoo.models.catalogue import call, identity

    def sizes(numbers: dict[str, int], unit: str = "") -> str:
        shown = [f"{numbers[classes] / 1e6:,.2f}{unit}" if unit else f"{numbers[classes]:,}" for classes in numbers]
        return f"{shown[0]} with 10 classes, {shown[1]} with 100"

    # For a special case, also the files of the general factory that fit it, and the other way round.
    fitting = [e for e in entries if e.model == record.name or e.identity == identity(record.name, {})]
    rows = [
        {
            "tag": entry.tag,
            "dataset": entry.dataset,
            "error": entry.metrics["error"],
            "bytes": entry.bytes,
            "default": "yes" if entry.default else "",
            "arguments": _different(entry.architecture, record.arguments),
        }
        for entry in fitting
    ]
    print_record(
        call(record.name, record.arguments),
        {
            "what": record.summary,
            "paper": f"{record.paper} ({record.year})",
            "parameters": sizes(record.total),
            "trainable": sizes(record.trainable),
            "multiply-accumulates": sizes(record.macs, " M"),
            "also known as": ", ".join(record.aliases),
            "variants": ", ".join(f"{name}={record.arguments[name]!r}" for name in record.variants),
            "only affect training": ", ".join(record.training_only),
            "the same network as": call(*identity(record.name, {})) if record.special_case_of else None,
        },
        form,
        dataclasses.asdict(record) | {"weights": [dataclasses.asdict(entry) for entry in fitting]},
        rows,
        WEIGHTS_COLUMNS,
        title="weights",
    )


def _show_published(entry: "Published", form: str) -> None:
    from cifarzoo.pretrained.description import describe_entry
    from cifarzoo.pretrained.files import find, report_page

    description = describe_entry(entry)
    card, page = find(f"{entry.tag}.md"), report_page(entry.tag)
    print_record(
        str(description),
        {
            "tag": entry.tag,
            "also known as": ", ".join(entry.aliases),
            "trained on": entry.dataset,
            "test error": f"{entry.metrics['error']:.2f} %",
            "input": _input(description.statistics),
            "size": f"{entry.bytes / 1e6:,.1f} MB, {entry.parameters:,} parameters",
            "default": "yes, for these arguments and this number of classes" if entry.default else "no",
            "remark": entry.remark,
            "card": str(card) if card else None,
            # The pages are part of a checkout, not of the installed package.
            "report": str(page) if page else f"cifarzoo report {entry.tag} writes it",
            "license": entry.license,
            "written by cifarzoo": description.version if description.version != "unknown" else None,
        },
        form,
        dataclasses.asdict(entry),
    )


def _show_checkpoint(entry: "Entry", form: str) -> None:
    from cifarzoo.conversion.measured import measured
    from cifarzoo.models.catalogue import call

    ours, addresses = measured().get(entry.name), [file.url for files in entry.files[:1] for file in files]
    reported = "not reported" if entry.error is None else f"{entry.error:.2f} %"
    print_record(
        call(entry.factory, entry.arguments | {"classes": entry.classes}),
        {
            "name": entry.name,
            "trained on": entry.dataset,
            "reported error": f"{reported} ({entry.protocol})",
            "measured error": f"{ours.error:.2f} % of {ours.images:,} test images" if ours else None,
            "input": _input(entry.statistics),
            "address": ", ".join(addresses),
            "license": f"{entry.license}, {entry.license_url}",
            "source": entry.homepage,
            "remark": entry.remark,
            "to use it": f"cifarzoo.load({entry.name!r})",
        },
        form,
        dataclasses.asdict(entry),
    )


def _different(arguments: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return the arguments that differ from their defaults, as in a call."""
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items() if value != defaults.get(key))


def _show_file(name: str, form: str) -> None:
    from cifarzoo.pretrained.description import read_description

    description = read_description(Path(name).expanduser())
    if description is None:
        raise WeightsError(f"{name}: does not say what it contains")
    print_record(
        str(description),
        {
            "input": _input(description.statistics),
            "trained on": description.dataset,
            **_source(description.source),
            "written by cifarzoo": description.version,
        },
        form,
        dataclasses.asdict(description),
    )


def _source(source: str | dict[str, Any] | None) -> dict[str, str | None]:
    """Return what a file says about where it comes from, one field per fact, and one per file."""
    if not isinstance(source, dict):
        return {"source": source}
    from cifarzoo.conversion.entries import entries

    entry = entries().get(str(source.get("name")))
    members = {file.url: file.member for files in entry.files for file in files} if entry else {}
    facts = {LABELS.get(key, key.replace("_", " ")): value for key, value in source.items() if key not in INTERNAL}
    fields: dict[str, str | None] = {
        label: str(value) for label, value in facts.items() if value is not None and label != "files"
    }
    files, label = source.get("files"), "address" if "name" in source else "file"
    for number, (address, digest) in enumerate(files.items() if isinstance(files, dict) else (), 1):
        of_member = f" of its member {members[address]}" if members.get(address) else ""
        fields[label if number == 1 else f"{label} {number}"] = f"{address}, SHA-256{of_member} {digest}"
    return fields


def _input(statistics: str | dict[str, list[float]] | None) -> str:
    from cifarzoo.data.statistics import text_of

    return f"normalized by {text_of(statistics)}" if statistics else "not normalized inside"


def _show_run(path: Path, form: str) -> None:
    from cifarzoo.models.catalogue import call
    from cifarzoo.runs.folder import RunFolder

    folder = RunFolder(path)
    if not (folder.has_started or folder.is_finished):
        below = len(folder.finished_below(path))
        hint = f"; it holds {below} finished runs, which `cifarzoo table {path}` lists" if below else ""
        raise CifarzooError(f"{path}: not the folder of a run, as it has no {folder.config_path.name}{hint}")
    fields: dict[str, str | None] = {}
    data: dict[str, Any] = {"folder": str(path), "finished": folder.is_finished}
    heading = ""
    if folder.has_started:
        experiment = folder.experiment()
        data["experiment"] = experiment.resolved()
        heading = call(experiment.model, experiment.model_parameters)
        fields |= {
            "experiment": experiment.name,
            "description": experiment.description,
            "data": experiment.dataset_name,
        }
    if folder.is_finished:
        results = folder.results()
        data["results"] = results.as_dict()
        fields |= {
            "state": "finished",
            "seed": str(results.seed),
            "trained on": f"{results.dataset}, {results.train_split}",
            f"{results.split} error": f"{results.metrics['error']:.2f} %",
            f"{results.split} loss": f"{results.metrics['nll']:.4g}",
            "weights": f"{results.weights}, {results.parameters:,} parameters",
            "steps": f"{results.steps:,}, {results.images:,} images",
            "time": f"{results.seconds / 60:,.1f} minutes, {results.images_per_second:,.0f} images/s",
            "device": f"{results.device}, {results.backend}",
            "revision": results.revision,
            "versions": ", ".join(f"{package} {version}" for package, version in results.versions.items()),
        }
    else:
        saved = folder.checkpoint_meta()
        data["step"] = saved["step"] if saved else None
        fields["state"] = f"not finished; saved at step {saved['step']:,}" if saved else "not finished; nothing saved"
    print_record(heading, fields, form, data)
