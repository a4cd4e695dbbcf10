"""Exchange weights with other code: convert checkpoints that are in no table, and write PyTorch state dicts."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cifarzoo.checksum import sha256
from cifarzoo.conversion.cache import fresh_model
from cifarzoo.conversion.guess import convert_file, parse_call
from cifarzoo.conversion.layouts import layout_named
from cifarzoo.conversion.readers import files_of
from cifarzoo.conversion.to_torch import torch_layout, torch_state
from cifarzoo.conversion.torch_writer import write_state_dict
from cifarzoo.data.classes import CLASS_NAMES, dataset_with
from cifarzoo.data.statistics import PER_PIXEL, channel_statistics, statistics_from
from cifarzoo.errors import DataError, ModelError, WeightsError, printable
from cifarzoo.models import registry
from cifarzoo.models.load import load
from cifarzoo.pretrained.description import Description, description_of, save_weights

# Of a network without normalisation inside.
UNKNOWN_INPUT = "what the network was trained with; the file does not say"


def convert_checkpoint(
    path: Path,
    call: str,
    statistics: Any,
    layout: str | None = None,
    epsilon: float | None = None,
    dataset: str | None = None,
    out: Path | None = None,
    part: str | None = None,
) -> dict[str, Any]:
    """Convert a checkpoint that is in no table.

    Args:
        path: The checkpoint.
        call: The model that it holds, as Python code.
        statistics: What normalises its input; see `statistics_from`.
        layout: Name of the key map. Default: the first that fits.
        epsilon: BatchNormalization's epsilon in the other network. Default: that of the key map's code.
        dataset: What it was trained on, a key of `CLASS_NAMES`. Default: the data set with as many classes.
        out: The weight file. Default: the checkpoint's name with another ending, in the working directory, unless
            there is such a file.
        part: Name of the dictionary in the file that the network is in, such as "ema". Default: see `state.NETWORKS`.

    Returns:
        `path`, `model`, and the fields of `guess.Fit`.

    Raises:
        CifarzooError: there is no such model, or the checkpoint does not fit it; or there is a file that it would
            replace.
    """
    if dataset not in (None, *CLASS_NAMES):
        raise DataError(f"--dataset {printable(str(dataset))}: expected one of {', '.join(CLASS_NAMES)}")
    name, arguments = parse_call(call)
    wanted = registry.get(name)
    if unknown := set(arguments) - {*wanted.architecture({}), "classes", "image_size"}:
        raise ModelError(f"--model: {wanted.name} has no argument {', '.join(sorted(unknown))}")
    described = Description(
        factory=wanted.name,
        arguments={key: value for key, value in arguments.items() if key != "classes"},
        classes=arguments.get("classes", 10),
        statistics=statistics_from(statistics),
    )
    target = _target(path, ".weights.h5", out)
    with fresh_model(described, registry.build_described) as model:
        fit = convert_file(path, model, layout, epsilon, part)
        hashes = {file.name: sha256(file) for file in files_of(path)}
        source = {"files": hashes, "layout": fit.layout, "epsilon": fit.epsilon, "part": part}
        trained = dataset or dataset_with(model.output_shape[-1])
        complete = replace(description_of(model) or described, dataset=trained, source=source)
        save_weights(model, target, complete)
    return {"path": str(target), "model": str(complete)} | asdict(fit)


def write_torch(name: str, layout: str | None = None, out: Path | None = None) -> dict[str, Any]:
    """Write a PyTorch state dict of weights that are in our format.

    Args:
        name: A `.weights.h5` file, a tag, or the name of another project's checkpoint.
        layout: Name of the key map, one of `to_torch.TARGETS`. Default: the first that holds the model.
        out: The file. Default: the name with the ending .pth, in the working directory, unless there is such a file.

    Returns:
        `path`, `model`, `layout`, `code` (whose names they are), `tensors` (their number), and what the PyTorch network
        takes: `mean` and `std` on 0-1, or else `input`, in words.

    Raises:
        CifarzooError: there are no such weights, or the other code has no such network; or there is a file that it
            would replace.
    """
    target = _target(Path(name), ".pth", out)
    model = load(name)
    description = description_of(model)
    if description is None or description.factory is None:
        raise WeightsError(f"{name}: not a network of the zoo")
    chosen = torch_layout(model, description, layout)
    state = torch_state(model, chosen)
    write_state_dict(target, state)
    row: dict[str, Any] = {"path": str(target), "model": str(description), "layout": chosen, "tensors": len(state)}
    row |= {"code": layout_named(chosen).code, "mean": None, "std": None, "input": UNKNOWN_INPUT}
    if description.statistics == PER_PIXEL:
        row["input"] = "pixel / 255, minus the mean image of CIFAR-10's training images"
    elif description.statistics is not None:
        mean, std = channel_statistics(description.statistics)
        rounded = {"mean": [round(value / 255, 6) for value in mean], "std": [round(value / 255, 6) for value in std]}
        row |= rounded | {"input": "normalised"}
    return row


def _target(path: Path, ending: str, out: Path | None) -> Path:
    """Return the file to write, before any work is done for it: `out`, or the name with another ending.

    Raises:
        WeightsError: the user did not name it, and it exists; it is the file to read, or a folder; its ending is not
            that of a weight file; or its folder does not exist.
    """
    # The names of tags and of other projects' checkpoints may have dots of their own.
    own = path.name.removesuffix(".weights.h5")
    stem = path.stem if own == path.name and ending == ".weights.h5" else own
    target = out or Path(f"{stem}{ending}")
    if out is None and target.exists():
        raise WeightsError(f"{target}: exists; name the file to write with --out")
    if ending == ".weights.h5" and not target.name.endswith(ending):
        raise WeightsError(f"{target}: the name of a weight file ends in {ending}")
    if target.is_dir():
        raise WeightsError(f"{target}: is a folder; name a file with --out")
    if not target.parent.is_dir():
        raise WeightsError(f"{target}: there is no folder {target.parent}")
    if path.exists() and target.exists() and target.samefile(path):
        raise WeightsError(f"{target}: is the file to read; name another with --out")
    return target
