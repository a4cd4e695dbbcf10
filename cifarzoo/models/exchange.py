"""Convert checkpoints of other code that are in no table."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cifarzoo.checksum import sha256
from cifarzoo.conversion.cache import fresh_model
from cifarzoo.conversion.guess import convert_file, parse_call
from cifarzoo.conversion.readers import files_of
from cifarzoo.data.classes import CLASS_NAMES, dataset_with
from cifarzoo.data.statistics import statistics_from
from cifarzoo.errors import DataError, ModelError, WeightsError, printable
from cifarzoo.models import registry
from cifarzoo.pretrained.description import Description, description_of, save_weights

ENDING = ".weights.h5"


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
        statistics: What normalizes its input; see `statistics_from`.
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
    target = _target(path, out)
    with fresh_model(described, registry.build_described) as model:
        fit = convert_file(path, model, layout, epsilon, part)
        hashes = {file.name: sha256(file) for file in files_of(path)}
        source = {"files": hashes, "layout": fit.layout, "epsilon": fit.epsilon, "part": part}
        trained = dataset or dataset_with(model.output_shape[-1])
        complete = replace(description_of(model) or described, dataset=trained, source=source)
        save_weights(model, target, complete)
    return {"path": str(target), "model": str(complete)} | asdict(fit)


def _target(path: Path, out: Path | None) -> Path:
    """Return the file to write, before any work is done for it: `out`, or the name with another ending.

    Raises:
        WeightsError: the user did not name it, and it exists; it is the file to read, or a folder; its ending is not
            that of a weight file; or its folder does not exist.
    """
    own = path.name.removesuffix(ENDING)
    target = out or Path(f"{path.stem if own == path.name else own}{ENDING}")
    if out is None and target.exists():
        raise WeightsError(f"{target}: exists; name the file to write with --out")
    if not target.name.endswith(ENDING):
        raise WeightsError(f"{target}: the name of a weight file ends in {ENDING}")
    if target.is_dir():
        raise WeightsError(f"{target}: is a folder; name a file with --out")
    if not target.parent.is_dir():
        raise WeightsError(f"{target}: there is no folder {target.parent}")
    if path.exists() and target.exists() and target.samefile(path):
        raise WeightsError(f"{target}: is the file to read; name another with --out")
    return target
