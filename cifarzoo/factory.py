"""The factory: fills the table of published weights, as far as a budget of time goes.

It reads the wanted rows (recipes/zoo.yaml), leaves out what the manifest has, goes on with what is half done, and
trains what fits; a finished run is evaluated once on the test images and published. It may be stopped at any moment.
"""

import time
from dataclasses import replace
from pathlib import Path

from cifarzoo import pretrained
from cifarzoo.data import load
from cifarzoo.data.dataset import IMAGES
from cifarzoo.errors import one_line
from cifarzoo.models.catalogue import find
from cifarzoo.publishing import GOLDEN_IMAGES, publish, write_pages
from cifarzoo.rows import Row
from cifarzoo.training import checkpoint
from cifarzoo.training.estimate import probe, training_operations
from cifarzoo.training.plan import Plan
from cifarzoo.training.precision import settled
from cifarzoo.training.reading import run_folder
from cifarzoo.training.trainer import Interrupted, run

# Building, compiling, evaluating and publishing, beside the training itself.
FIXED_SECONDS = 60.0


class Factory:
    """Rows, what is done of them, and how long the rest would take.

    Args:
        rows: As `read_rows` returns them.
        weights: The weights folder.
        data_dir: Of the archives, or None.
    """

    def __init__(self, rows: list[Row], weights: Path, data_dir: str | None = None):
        self._rows = [replace(row, experiment=settled(row.experiment, [row.seed])) for row in rows]
        self._weights, self._data_dir = weights, data_dir
        self._datasets, self._rates = {}, {}

    def open_rows(self) -> list[Row]:
        """The rows that are not published yet, those that are half done first."""
        published = {entry.tag for entry in self._published()}
        rows = [row for row in self._rows if row.tag not in published]
        return sorted(rows, key=lambda row: not self._saved_step(row))

    def seconds_left(self, row: Row) -> float:
        """Estimated time to finish a row: the arithmetic that is left, at the row's own rate or at a probe's.

        Raises:
            CifarzooError: the row does not fit, or its data set is not there.
        """
        experiment, saved = row.experiment, self._saved(row)
        plan = Plan(experiment, self._training_images(experiment))
        done = min(saved["step"], plan.total) if saved else 0
        left = plan.full_size_images(done)
        if saved and saved["seconds"] > 0:
            return FIXED_SECONDS + saved["seconds"] * left / (plan.full_size_images() - left)
        macs = find(experiment.model).macs["100" if experiment.dataset == "cifar100" else "10"]
        operations = training_operations(macs, left, experiment.train_parameters.sam_rho > 0)
        return FIXED_SECONDS + operations / self._rate(experiment.precision)

    def work(self, budget: float) -> list[Row]:
        """Train and publish what fits into `budget` seconds; returns the rows that were published.

        The first open row that fits is taken; where none fits, the first is begun and left half done at the deadline.
        What an earlier factory was stopped in the midst of writing is written anew.
        """
        deadline, finished, failed = time.monotonic() + budget, [], set()
        write_pages(self._weights)
        while rows := [row for row in self.open_rows() if row.tag not in failed]:
            row, seconds = self._choose(rows, deadline, failed)
            left = deadline - time.monotonic()
            if row is None or left < FIXED_SECONDS:
                break
            _say(f"{row.tag}: about {seconds / 60:.0f} min, {left / 60:.0f} min left")
            try:
                run(row.experiment, row.seed, self._dataset(row.experiment), deadline=deadline - FIXED_SECONDS / 2)
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

    def _choose(self, rows, deadline, failed):
        """The first row that can be finished in time, else the first, with its seconds; None where every row fails."""
        first = None, 0.0
        for row in rows:
            try:
                seconds = self.seconds_left(row)
            except Exception as failure:
                _say(f"{row.tag}: {one_line(failure)}")
                failed.add(row.tag)
                continue
            if seconds <= deadline - time.monotonic():
                return row, seconds
            first = first if first[0] else (row, seconds)
        return first

    def _publish(self, row):
        """Publish; the weights become the default if their recipe is preferred to that of the default so far."""
        golden = load("synthetic").test.images[:GOLDEN_IMAGES]
        return publish(
            run_folder(row.experiment, row.seed),
            row.tag,
            self._dataset(row.experiment),
            self._weights,
            golden,
            recipe=row.recipe,
            preferred_to=row.preferred_to,
            remark=row.remark,
        )

    def _published(self):
        return pretrained.read_manifest(self._weights / "manifest.json")

    def _dataset(self, experiment):
        name = experiment.dataset
        if name not in self._datasets:
            self._datasets[name] = load(name, self._data_dir)
        return self._datasets[name]

    def _training_images(self, experiment):
        """Known without the data, which need not be there before a row is trained on them."""
        if experiment.dataset == "synthetic":
            return len(self._dataset(experiment).split(experiment.train_split))
        return IMAGES[experiment.train_split]

    def _rate(self, precision):
        if precision not in self._rates:
            self._rates[precision] = probe(precision)
        return self._rates[precision]

    def _saved(self, row):
        """What the checkpoint of a row says of itself, or None."""
        return checkpoint.read_meta(run_folder(row.experiment, row.seed))

    def _saved_step(self, row):
        saved = self._saved(row)
        return saved["step"] if saved else 0


def _say(line):
    print(line, flush=True)
