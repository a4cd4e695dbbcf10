"""PyTorch's exported program: one file with the whole network, which `torch.export.load` opens."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.exporting.formats import Runner
from cifarzoo.exporting.metadata import as_files

if TYPE_CHECKING:
    import keras


def write(model: "keras.Model", path: Path, facts: dict[str, Any], calibration: np.ndarray | None = None) -> None:
    """See `formats.FormatModule`. The facts are extra files of the program."""
    import torch

    model.export(path, format="torch", verbose=False, dynamic_shapes={0: torch.export.Dim("batch", min=1)})
    torch.export.save(torch.export.load(path), path, extra_files=as_files(facts))


def runner(path: Path) -> Runner:
    """See `formats.FormatModule`."""
    import torch

    network = torch.export.load(path).module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return run
