"""The weights that a run kept along the way: one file per step in the folder `kept` of the run's folder."""

import re
from pathlib import Path

KEPT = "kept"


class KeptWeights:
    """The weight files in a run's folder `kept`, named after the number of steps before them.

    Attributes:
        folder: The folder, which exists if anything was kept.
    """

    def __init__(self, run: Path):
        self.folder = run / KEPT

    def path(self, step: int) -> Path:
        """Return where the weights after a number of steps are kept."""
        return self.folder / f"step_{step:06d}.weights.h5"

    def files(self) -> dict[int, Path]:
        """Return the files that exist, by step and in their order."""
        names = [(re.fullmatch(r"step_([0-9]{6,})\.weights\.h5", path.name), path) for path in self.folder.glob("*")]
        return dict(sorted((int(match[1]), path) for match, path in names if match))
