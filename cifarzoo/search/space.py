"""The search space: every operation at every level, and which of these are the same transformation.

Fast AutoAugment's levels have three traps. Geometric operations draw their sign at random on top of a signed range, so
levels `l` and `1 - l` are the same. Level 0.5 of these and of contrast, color, brightness and sharpness changes
nothing, nor does level 1 of Solarize and Posterize, or level 0 of Cutout. Posterize rounds its level to whole bits.
The cells of a space are the transformations that are left: a table of them has half as many pairs.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

from cifarzoo.augment import kernels
from cifarzoo.augment.operations import FIXED_TABLE, KINDS, NOTHING, WARP, Operation, Table, table
from cifarzoo.augment.policies import fast_autoaugment_value
from cifarzoo.errors import ExperimentError

# Columns of a kernel's row: the kind of work, the number of the look-up table, the factor.
KIND, LOOK_UP, FACTOR = 6, 7, 8
# Operations whose level has no effect.
UNGRADED = ("AutoContrast", "Invert", "Equalize")


class Space:
    """Distinct transformations by number; 0 changes nothing.

    Args:
        operations: Names of operations.
        levels: Number of levels, evenly from 0 to 1.
        width: Height and width of the images.

    Attributes:
        cells: Name and level of each transformation: the highest level of those that are the same. The first is
            ("Identity", 0).
        table: The kernels' parameters, in which cell k has the row 2k and its mirrored form the row 2k + 1.
    """

    def __init__(self, operations: Sequence[str], levels: int, width: int):
        self.operations, self.levels, self.width = tuple(operations), levels, width
        grid = [(name, level / (levels - 1)) for name in self.operations for level in range(levels)]
        everything = [("Identity", 0.0), *grid]
        rows = self._table(everything).rows
        effects = [frozenset({_effect(rows[2 * n]), _effect(rows[2 * n + 1])}) for n in range(len(everything))]
        names = [name for name, _ in everything]
        # Two names never share a cell, except where both change nothing.
        keys = [
            effects[0] if effect == effects[0] else (name, effect) for name, effect in zip(names, effects, strict=True)
        ]
        self.cells: list[tuple[str, float]] = []
        numbers: dict = {}
        for key, (name, level) in zip(keys, everything, strict=True):
            number = numbers.setdefault(key, len(self.cells))
            if number == len(self.cells):
                self.cells.append((name, level))
            elif number:
                self.cells[number] = name, level
        self.table = self._table(self.cells)
        self._cell_of = {entry: numbers[key] for entry, key in zip(grid, keys[1:], strict=True)}

    def __len__(self) -> int:
        return len(self.cells)

    def cell(self, name: str, level: float) -> int:
        """Return the cell of an operation at the level of the grid next to `level`.

        Raises:
            ExperimentError: the space does not have the operation.
        """
        if name not in self.operations:
            raise ExperimentError(
                f"operation {name!r:.100}: not in this search, which has {', '.join(self.operations)}"
            )
        nearest = min(math.floor(level * (self.levels - 1) + 0.5), self.levels - 1)
        return self._cell_of[name, nearest / (self.levels - 1)]

    @functools.cached_property
    def operation_numbers(self) -> np.ndarray:
        """The operations' numbers by cell, int [cells]; -1 for the first cell."""
        return np.array([self.operations.index(name) if name in self.operations else -1 for name, _ in self.cells])

    def _table(self, entries: Sequence[tuple[str, float]]) -> Table:
        operations = [Operation(name, 1.0, fast_autoaugment_value(name, level, self.width)) for name, level in entries]
        return table(operations, self.width, self.width)


def _effect(row: np.ndarray) -> tuple[int, ...]:
    """Return a kernel's row with the kind NOTHING if it changes no image."""
    blends = row[KIND] in (KINDS["Contrast"], KINDS["Color"], KINDS["Sharpness"])
    same = (
        row[KIND] == NOTHING
        or (row[KIND] == WARP and tuple(row[:KIND]) == _UNMOVED)
        or (row[KIND] == FIXED_TABLE and row[LOOK_UP] == 0)
        or (blends and row[FACTOR] == 1 << kernels.FACTOR_BITS)
    )
    return (NOTHING,) if same else tuple(int(value) for value in row)


_UNMOVED = tuple(table([Operation("Identity", 1.0, 0.0)], 32, 32).rows[0][:KIND])
