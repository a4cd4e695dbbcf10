"""The pages of the model families: what the module says, the block, every model, published weights, the factories."""

import ast
import itertools
import re
from collections.abc import Iterator

from outside import ROOT

from cifarzoo.models.catalogue import Record, call, catalogue
from cifarzoo.pretrained.manifest import Published, manifest

TITLES = {
    "vgg": "VGG",
    "resnet": "ResNet",
    "resnet18": "ResNet-18",
    "pyramidnet": "PyramidNet",
    "resnext": "ResNeXt",
    "wide_resnet": "Wide ResNet",
    "shake_shake": "Shake-Shake",
    "skipnet": "SkipNet",
    "resnet9": "ResNet-9",
    "resnet8": "ResNet-8",
    "airbench": "airbench",
}


def families() -> dict[str, list[Record]]:
    """Return the models of every family, in the order of the catalogue."""
    grouped = itertools.groupby(catalogue().values(), lambda record: record.family)
    return {family: list(records) for family, records in grouped}


def pages() -> Iterator[tuple[str, str]]:
    """Yield address and text of every family's page."""
    for family, records in families().items():
        yield f"models/{family}.md", _page(family, records)


def _page(family, records):
    summary, papers, body = _described(family)
    sections = [f"# {TITLES.get(family, family)}", summary, papers, *_diagram(family), body]
    sections += ["## Models", _models(records)]
    weights = [entry for entry in manifest() if entry.model in {record.name for record in records}]
    if weights:
        sections += ["## Published weights", _weights(weights)]
    sections += ["## Factories", *_factories(records)]
    return "\n\n".join(sections) + "\n"


def _described(family) -> tuple[str, str, str]:
    """Return the first line of a module's docstring, its papers as a list, and the rest."""
    tree = ast.parse((ROOT / "cifarzoo" / "models" / f"{family}.py").read_text(encoding="utf-8"))
    summary, papers, *body = (ast.get_docstring(tree) or "").split("\n\n")
    # Every paper begins with four spaces, and its further lines with more.
    items = re.split(r"\n {4}(?! )", "\n".join(["", *papers.splitlines()[1:]]))[1:]
    listed = "\n".join(f"* {' '.join(item.split())}" for item in items)
    return summary, _linked(listed), _linked("\n\n".join(body))


def _linked(text):
    return re.sub(r"(?<![(<])(https://[^\s),;]*[^\s),;.])|(?<=\()(https://[^\s)]+)(?=\))", r"<\g<0>>", text)


def _diagram(family):
    """Yield the picture of the blocks, part of the page so that it has the colors of the page."""
    picture = ROOT / "docs" / "figures" / "blocks" / f"{family}.svg"
    if picture.is_file():
        svg = re.sub(r"<style>.*?</style>\n", "", picture.read_text(encoding="utf-8")).strip()
        yield f'<div class="diagram">\n{svg}\n</div>'


def _models(records):
    """Return the table of sizes, with the arguments in which the models differ, and those that are the same in all."""
    arguments = dict.fromkeys(name for record in records for name in record.arguments)
    same = {
        name: records[0].arguments[name]
        for name in arguments
        if all(name in one.arguments and one.arguments[name] == records[0].arguments.get(name) for one in records)
    }
    lines = [
        "| model | parameters | with 100 classes | MMACs | defaults |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for record in records:
        own = _arguments({name: value for name, value in record.arguments.items() if name not in same})
        lines.append(
            f"| [`{record.name}`](#cifarzoo.{record.name}) | {record.trainable['10']:,} "
            f"| {record.trainable['100']:,} | {record.macs['10'] / 1e6:,.1f} | {own} |"
        )
    if not any(set(record.arguments) - set(same) for record in records):  # an empty column
        lines = [line.rsplit("|", 2)[0] + "|" for line in lines]
    note = (
        "Trainable parameters; multiply-accumulates of convolutions and linear layers on one 32x32 image, in millions."
    )
    defaults = f" All have {_arguments(same)} by default." if same else ""
    return "\n".join(lines) + f"\n\n{note}{defaults}"


def _arguments(arguments):
    return ", ".join(f"`{name}={value!r}`" for name, value in arguments.items())


def _weights(entries: list[Published]):
    lines = ["| weights | model | data | error % | parameters |", "| --- | --- | --- | ---: | ---: |"]
    lines += [
        f"| [{entry.tag}](../weights/{entry.tag}.md) | `{call(entry.model, entry.architecture)}` | {entry.dataset} "
        f"| {entry.metrics['error']:.2f} | {entry.parameters:,} |"
        for entry in entries
    ]
    return "\n".join(lines)


def _factories(records):
    """Yield directives: the first factory of several with the same arguments has all of its documentation."""
    described: dict[tuple, str] = {}
    for record in records:
        first = described.setdefault((*record.arguments, *record.training_only), record.name)
        directive = f"::: cifarzoo.{record.name}\n    options:\n      heading_level: 3"
        if first == record.name:
            yield directive
            continue
        hidden = "".join(f"\n      show_docstring_{part}: false" for part in ("parameters", "returns", "raises"))
        yield f"{directive}{hidden}"
        yield f"Arguments, result and errors are those of [`{first}`](#cifarzoo.{first})."
