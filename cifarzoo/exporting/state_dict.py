"""PyTorch's state dict: the weights by the names of another project's PyTorch code, which builds the network."""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.conversion.cache import fresh_model
from cifarzoo.conversion.guess import convert_file
from cifarzoo.conversion.layouts import layout_named
from cifarzoo.conversion.to_torch import torch_input, torch_layout, torch_state
from cifarzoo.conversion.torch_writer import FOLDER, write_state_dict
from cifarzoo.errors import ExportError
from cifarzoo.evaluation.evaluate import predict
from cifarzoo.exporting.formats import Runner
from cifarzoo.exporting.metadata import as_files
from cifarzoo.models.registry import build_described
from cifarzoo.pretrained.description import Description, description_of

if TYPE_CHECKING:
    import keras


def write(model: "keras.Model", path: Path, facts: dict[str, Any], calibration: np.ndarray | None = None) -> None:
    """See `formats.FormatModule`. The facts are files in the archive, which PyTorch does not read.

    `facts` may say which `layout` to write; afterwards it has the `layout`, whose `code` that is, what that code's
    network takes as `input`, and the `description` of the model.

    Raises:
        ExportError: the model is not the zoo's. WeightsError: no code has such a network.
    """
    description = description_of(model)
    if description is None or description.factory is None:
        raise ExportError("only networks of the zoo have names in other projects' code; OUT.pt2 holds any network")
    layout = torch_layout(model, description, facts.get("layout"))
    facts |= {"layout": layout, "code": layout_named(layout).code, "input": torch_input(description)}
    facts["description"] = asdict(description)
    write_state_dict(path, torch_state(model, layout), as_files(facts))


def runner(path: Path) -> Runner:
    """See `formats.FormatModule`. As the other code is not here, the file is read back into a fresh model of ours."""
    with zipfile.ZipFile(path) as archive:
        facts = json.loads(archive.read(f"{FOLDER}/extra/cifarzoo.json"))
    with fresh_model(Description(**facts["description"]), build_described) as model:
        convert_file(path, model, facts["layout"])
    return lambda images: predict(model, images)
