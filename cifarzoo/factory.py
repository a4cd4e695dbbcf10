"""The factory: fills the table of published weights, as far as a budget of time goes.

It reads the wanted rows (recipes/zoo.yaml), leaves out what the manifest has, goes on with what is half done, and
trains what fits; a finished run is evaluated once on the test images and published. It may be stopped at any moment.
"""

import contextlib
import fnmatch
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from cifarzoo import pretrained
from cifarzoo.data import load
from cifarzoo.errors import CifarzooError, ExperimentError, one_line
from cifarzoo.models.catalogue import find
from cifarzoo.publishing import GOLDEN_IMAGES, publish
from cifarzoo.training import checkpoint
from cifarzoo.training.estimate import probe, slow_precision, training_operations
from cifarzoo.training.experiment import Experiment
from cifarzoo.training.plan import Plan
from cifarzoo.training.reading import experiment_from, read_mapping, run_experiment, with_policies
from cifarzoo.training.trainer import Interrupted, run, run_folder

UNITS = {"s": 1, "m": 60, "h": 3600}
# Building, compiling, evaluating and publishing, beside the training itself.
FIXED_SECONDS = 60.0


@dataclass(frozen=True)
class Row:
    """One wanted weight file: an experiment with one seed."""

    tag: str
    recipe: str
    experiment: Experiment
    seed: int


def parse_budget(text: str) -> float:
    """Seconds of a budget such as "20m", "1.5h" or "90s".

    Raises:
        ExperimentError: it is not a number and a unit.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found:
        raise ExperimentError(f"--budget {text}: expected a number and s, m or h, for example 20m")
    return float(found[1]) * UNITS[found[2]]


def read_rows(path: Path, logdir: str) -> list[Row]:
    """The wanted rows of a file, in order.

    Args:
        path: recipes/zoo.yaml or a file of its form.
        logdir: Where the runs are to lie.

    Raises:
        ExperimentError: a row or recipe does not fit; the message names it.
    """
    wanted = read_mapping(path, "recipes, common and rows")
    recipes, common, rows = wanted.get("recipes"), wanted.get("common") or {}, wanted.get("rows")
    if not (isinstance(recipes, dict) and isinstance(common, dict) and isinstance(rows, list)):
        raise ExperimentError(f"{path}: expected mappings `recipes` and `common` and a list `rows`")
    recipes = {name: _recipe(path, name, recipe) for name, recipe in recipes.items()}
    return [
        _row(path, number, row, recipe, seed, recipes, common, logdir)
        for number, row in enumerate(rows, start=1)
        for recipe in row.get("recipes", [])
        for seed in row.get("seeds", [0])
    ]


def _recipe(path, name, given):
    """A recipe's mapping, which may lie in a file of its own beside the rows."""
    if isinstance(given, str):
        given = read_mapping(path.parent / given, "keys of an experiment")
    if not isinstance(given, dict):
        raise ExperimentError(
            f"{path}: recipe {name}: expected keys of an experiment or a file's name, got {given!r:.80}"
        )
    return with_policies(given, path.parent, f"{path}: recipe {name}")


def _row(path, number, row, recipe, seed, recipes, common, logdir):
    place = f"{path}, row {number}"
    if recipe not in recipes:
        raise ExperimentError(f"{place}: unknown recipe {recipe!r}; the file has {', '.join(recipes)}")
    own = {key: value for key, value in row.items() if key not in ("name", "recipes", "seeds")}
    name = f"{row['name']}_{row['dataset']}_{recipe}"
    place_and_seed = {"seeds": [seed], "train_parameters": {"logdir": logdir, "run_name": name}}
    experiment = experiment_from([common, recipes[recipe], own, place_and_seed], place)
    return Row(f"{name}_s{seed}", recipe, experiment, seed)


def _in_fast_precision(row):
    """The row in float32 where bfloat16 is slow here, and in the precision it was begun with if it is half done."""
    folder, precision = run_folder(row.experiment, row.seed), row.experiment.precision
    if slow_precision(row.experiment):
        precision = "float32"
    if (folder / "config.yaml").is_file():
        with contextlib.suppress(CifarzooError):  # the run itself says what is wrong with it
            precision = run_experiment(folder).precision
    return replace(row, experiment=row.experiment.model_copy(update={"precision": precision}))


class Factory:
    """Rows, what is done of them, and how long the rest would take.

    Args:
        rows: As `read_rows` returns them.
        weights: The weights folder.
        data_dir: Of the archives, or None.
    """

    def __init__(self, rows: list[Row], weights: Path, data_dir: str | None = None):
        self._rows = [_in_fast_precision(row) for row in rows]
        self._weights, self._data_dir = weights, data_dir
        self._datasets, self._rates = {}, {}

    def open_rows(self) -> list[Row]:
        """The rows that are not published yet, those that are half done first."""
        published = {entry.tag for entry in pretrained.read_manifest(self._weights / "manifest.json")}
        rows = [row for row in self._rows if row.tag not in published]
        return sorted(rows, key=lambda row: not self._saved_step(row))

    def seconds_left(self, row: Row) -> float:
        """Estimated time to finish a row: arithmetic that is left at the rate of a probe on this device."""
        experiment = row.experiment
        if experiment.precision not in self._rates:
            self._rates[experiment.precision] = probe(experiment.precision)
        plan = self._plan(row)
        record = find(experiment.model)
        images = plan.full_size_images(min(self._saved_step(row), plan.total))
        macs = record.macs["100" if experiment.dataset == "cifar100" else "10"]
        operations = training_operations(macs, images, experiment.train_parameters.sam_rho > 0)
        return FIXED_SECONDS + operations / self._rates[experiment.precision]

    def work(self, budget: float) -> list[Row]:
        """Train and publish what fits into `budget` seconds; returns the rows that were published.

        The first open row that fits is taken; where none fits, the first is begun and left half done at the deadline.
        """
        deadline, finished, failed = time.monotonic() + budget, [], set()
        while rows := [row for row in self.open_rows() if row.tag not in failed]:
            left = deadline - time.monotonic()
            if left < FIXED_SECONDS:
                break
            row = next((row for row in rows if self.seconds_left(row) <= left), rows[0])
            _say(f"{row.tag}: about {self.seconds_left(row) / 60:.0f} min, {left / 60:.0f} min left")
            try:
                run(row.experiment, row.seed, self._dataset(row), deadline=deadline - FIXED_SECONDS / 2)
                entry = self._publish(row)
                finished.append(row)
                _say(f"{row.tag}: published, error {entry.metrics['error']:.2f} %")
            except Interrupted as stop:
                _say(str(stop))
                break
            except Exception as failure:  # one row must not end the others' time
                _say(f"{row.tag}: {one_line(failure)}")
                failed.add(row.tag)
        if rows := self.open_rows():
            _say(f"next: {', '.join(row.tag for row in rows[:3])}; {len(rows)} rows are open")
        return finished

    def _publish(self, row):
        golden = load("synthetic").test.images[:GOLDEN_IMAGES]
        folder = run_folder(row.experiment, row.seed)
        return publish(folder, row.tag, self._dataset(row), self._weights, golden, recipe=row.recipe)

    def _dataset(self, row):
        name = row.experiment.dataset
        if name not in self._datasets:
            self._datasets[name] = load(name, self._data_dir)
        return self._datasets[name]

    def _plan(self, row):
        return Plan(row.experiment, len(self._dataset(row).split(row.experiment.train_split)))

    def _saved_step(self, row):
        """How many steps of a row its checkpoint holds."""
        meta = checkpoint.read_meta(run_folder(row.experiment, row.seed))
        return meta["step"] if meta else 0


def only_matching(rows: list[Row], pattern: str | None) -> list[Row]:
    """The rows whose tag matches a shell pattern.

    Raises:
        ExperimentError: none does.
    """
    found = [row for row in rows if pattern is None or fnmatch.fnmatch(row.tag, pattern)]
    if not found:
        raise ExperimentError(
            f"--only {pattern}: no row has such a tag; there are {', '.join(row.tag for row in rows)}"
        )
    return found


def _say(line):
    print(line, flush=True)
