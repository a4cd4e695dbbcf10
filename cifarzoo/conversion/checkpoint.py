"""What a reader returns: the arrays and numbers of another project's file."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file of any format, read without executing anything.

    Attributes:
        format: Name of the format: "torch" (zip or legacy), "npz", "tensorflow", "keras" or "safetensors".
        arrays: Arrays by their full names in the file. Names of nested dictionaries are joined by "/":
            "state_dict/module.conv1.weight". Arrays keep the file's dtype, shape and order of axes;
            bfloat16, which NumPy lacks, becomes float32.
        facts: Numbers and texts beside the arrays, by full names: "best_prec1", "epoch".
    """

    format: str
    arrays: dict[str, np.ndarray]
    facts: dict[str, int | float | str] = field(default_factory=dict)
