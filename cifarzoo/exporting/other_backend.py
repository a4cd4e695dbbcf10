"""Write a file in a process of its own, where Keras runs on the backend that the format needs.

Keras' backend is chosen once per process, but a model and its weights are the same on all of them.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarzoo.errors import ExportError, summarize
from cifarzoo.exporting.formats import FORMATS, Format
from cifarzoo.keras_internals.model_graph import all_layers

if TYPE_CHECKING:
    import keras

MODEL, FACTS, CALIBRATION = "model.keras", "facts.json", "calibration.npy"


def write_elsewhere(
    chosen: Format, model: "keras.Model", path: Path, facts: dict[str, Any], calibration: np.ndarray | None = None
) -> None:
    """Do what `formats.FormatModule.write` does, on the backend of a format that needs a certain one.

    Raises:
        ExportError: the model has layers of the user's own, which the process cannot know; or the process failed, and
            the message has its last line.
    """
    own = {type(layer).__name__ for layer in all_layers(model) if not _is_known(layer)}
    if own:
        raise ExportError(
            f"Keras has to run on {chosen.backend} for it, and another process does not know {', '.join(sorted(own))}: "
            f"set KERAS_BACKEND={chosen.backend} in this one"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / MODEL)
        (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        if calibration is not None:
            np.save(folder / CALIBRATION, calibration)
        # The same modules as here, from whatever folders this process found them in, and from no other (-P).
        paths = os.pathsep.join(entry or os.curdir for entry in sys.path)
        environment = os.environ | {"KERAS_BACKEND": str(chosen.backend), "PYTHONPATH": paths}
        command = [sys.executable, "-P", "-m", __name__, chosen.name, str(folder), str(path)]
        done = subprocess.run(
            command, check=False, env=environment, capture_output=True, encoding="utf-8", errors="replace"
        )
    if done.returncode:
        lines = done.stderr.split("\n")
        raise ExportError(next((line.strip() for line in reversed(lines) if line.strip()), "the process was killed"))


def _is_known(layer: "keras.Layer") -> bool:
    return type(layer).__module__.split(".")[0] in ("keras", "cifarzoo")


def main(name: str, folder: Path, path: Path) -> None:
    """Write what `write_elsewhere` left in a folder."""
    from cifarzoo.pretrained.keras_files import open_keras_file

    calibration = np.load(folder / CALIBRATION) if (folder / CALIBRATION).exists() else None
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    FORMATS[name].load().write(open_keras_file(folder / MODEL), path, facts, calibration)


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except Exception as failure:
        print(summarize(failure), file=sys.stderr)
        # Some libraries print while they shut down, and the line above is to be the last.
        sys.stderr.flush()
        os._exit(1)
