"""The training queue: train and publish the wanted rows that are missing, within a time budget.

It skips rows that the manifest already has, resumes half-trained ones first, and trains what fits the budget. A
finished run is evaluated once on the test images and published. The queue may be stopped at any moment.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from cifarzoo.data import Dataset, load
from cifarzoo.data.info import info
from cifarzoo.errors import DataError, InUseError, summarize
from cifarzoo.evaluation.evaluate import Progress
from cifarzoo.experiment.schedules import Duration
from cifarzoo.publishing.publish import publish
from cifarzoo.publishing.report_page import write_report_page
from cifarzoo.publishing.row_matches import is_from_here, pace_key, was_trained_as
from cifarzoo.publishing.wanted import Row
from cifarzoo.publishing.weights_folder import WeightsFolder
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.estimate import Pace, measure_pace, probe
from cifarzoo.training.job import Job, prepare
from cifarzoo.training.resolve_auto import catalogued_macs, on_accelerator
from cifarzoo.training.stopping import Interrupted, StopRequest
from cifarzoo.training.trainer import run

# Building, compiling and publishing, in addition to training and evaluation.
FIXED_SECONDS = 60.0
# Images evaluated per published file: at the end of the run, from the files in both precisions, and for the report.
EVALUATED_IMAGES = 45_000
# How much faster a row may be than its arithmetic at ResNet-20's rate: wide networks use more of a device, and far more
# of an accelerator.
FASTER, FASTER_ON_ACCELERATORS = 3, 12
# Share of the time left that may be spent on measuring steps of rows, to see which one fits.
PROBING_SHARE = 0.1
# On an accelerator an epoch takes seconds, and saving as long as many steps of a wide network.
CHECKPOINT_SECONDS = 60.0


@contextlib.contextmanager
def _no_bar() -> Iterator[Progress]:
    yield lambda step, done: None


class Work(NamedTuple):
    """What a queue did: the rows that it published, those that failed, and whether somebody stopped it early."""

    published: list[Row]
    failed: list[Row]
    is_stopped: bool


class TrainingQueue:
    """Wanted rows: which are published, which are half trained, and how long the rest would take.

    Args:
        rows: The wanted rows, as `read_rows` returns them.
        weights: The weights folder.
        data_dir: Folder of the data sets' archives; None searches the usual places.
    """

    def __init__(self, rows: list[Row], weights: WeightsFolder, data_dir: str | None = None):
        self._rows = list(rows)
        self._jobs: dict[str, Job] = {}
        self._weights, self._data_dir = weights, data_dir
        self._datasets: dict[str, Dataset] = {}
        self._rates: dict[tuple[str, str], float] = {}
        self._paces: dict[str, Pace] = {}

    def open_rows(self) -> list[Row]:
        """Return the rows that are not published yet: half-trained ones first, stopgaps last.

        A stopgap is left out if the row of a better recipe is published.
        """
        published = set(self._published())
        rows = [
            row for row in self._rows if row.tag not in published and not (row.is_stopgap and row.better & published)
        ]
        return sorted(rows, key=lambda row: (not self._saved(row), row.is_stopgap))

    def changed_rows(self) -> list[Row]:
        """Return the rows whose published weights were trained with another version of the recipe.

        They are not open.
        """
        published = self._published()
        return [row for row in self._rows if row.tag in published and not was_trained_as(published[row.tag], row)]

    def rough_seconds(self, row: Row) -> float:
        """Estimate the seconds to finish a row from the rate in its checkpoint, or its arithmetic at ResNet-20's rate.

        Raises:
            CifarzooError: the row's experiment is not valid here.
        """
        return self._overhead(row) + self._image_seconds(row) * self._images_left(row)

    def seconds(self, row: Row) -> float:
        """Estimate the seconds to finish a row from the rate in its checkpoint, or a few steps of its own network.

        Raises:
            CifarzooError: the row's experiment is not valid here.
        """
        if self._steady(row):
            return self.rough_seconds(row)
        key = pace_key(self._job(row).experiment)
        if key not in self._paces:
            self._paces[key] = measure_pace(self._job(row))
        steps = self._images_left(row) / row.experiment.train_parameters.batch_size
        return self._overhead(row) + self._paces[key].startup + self._paces[key].step * steps

    def work(self, budget: float, bar: Callable[[], AbstractContextManager[Progress]] = _no_bar) -> Work:
        """Train and publish what fits into `budget` seconds.

        Take the first open row that fits; if none fits, start the first one and leave it half trained at the deadline.
        Before that, write the pages that an interrupted publication left unwritten. Ctrl-C and SIGTERM stop the queue
        after a checkpoint, or after the publication in progress; a second signal stops it at once.

        Args:
            budget: The seconds.
            bar: Shows a bar while rows are estimated and while one is published; training has its own.
        """
        deadline = time.monotonic() + budget
        finished: list[Row] = []
        failed: list[Row] = []
        self._weights.write_pages()
        for changed in self.changed_rows():
            _say(f"{changed.tag}: published from another version of its recipe; rename the recipe to train the new one")

        in_use: list[Row] = []  # another process is training them

        def rows():
            return [row for row in self.open_rows() if row not in failed + in_use]

        with (stop := StopRequest()).on_signals():
            while not stop.signal and rows():
                with bar() as show:
                    row, seconds = self.choose_row(rows(), deadline, failed, stop, show)
                left = deadline - time.monotonic()
                if row is None or left < FIXED_SECONDS or stop.signal:
                    break
                _say(f"{row.tag}: about {seconds / 60:.0f} min, {left / 60:.0f} min left")
                try:
                    # A row that fits needs time for its publication at the end, any other only for a checkpoint.
                    end = deadline - (self._overhead(row) if seconds <= left else FIXED_SECONDS / 2)
                    experiment = self._with_checkpoints_by_the_minute(row, seconds)
                    job = prepare(experiment, self._dataset(experiment), [row.seed])
                    run(job, row.seed, stop=stop, deadline=end)
                    with bar() as show:
                        entry = self._publish(row, show)
                    finished.append(row)
                    _say(f"{row.tag}: published, error {entry.metrics['error']:.2f} %")
                    with bar() as show:
                        self._report(entry, show)
                except Interrupted as interruption:
                    _say(str(interruption))
                    break
                except InUseError as conflict:
                    _say(f"{row.tag}: {conflict}")
                    in_use.append(row)
                except Exception as failure:  # the other rows still have time
                    if row.tag in self._published():
                        continue  # another queue was faster
                    _say(f"{row.tag}: {summarize(failure)}")
                    failed.append(row)
        if left := rows():
            _say(f"next: {', '.join(row.tag for row in left[:3])}; open rows: {len(left)}")
        return Work(finished, failed, bool(left) and stop.signal is not None)

    def choose_row(
        self,
        rows: list[Row],
        deadline: float,
        failed: list[Row],
        stop: StopRequest,
        progress: Progress = lambda step, done: None,
    ) -> tuple[Row | None, float]:
        """Return the first row that can be finished in time, or else the first one.

        Args:
            rows: Open rows.
            deadline: `time.monotonic()` at which time is up.
            failed: Rows that turn out to be invalid are appended.
            stop: Ends the search.
            progress: Called with the row that is estimated and the fraction of rows before it.

        Returns:
            The row and its seconds; None and 0 if every row fails.
        """
        first: tuple[Row | None, float] = None, 0.0
        probed_until = time.monotonic() + PROBING_SHARE * (deadline - time.monotonic())
        without_data = set()
        for number, row in enumerate(rows):
            if stop.signal:
                break
            progress(f"estimate {row.tag}", number / len(rows))
            if row.experiment.dataset in without_data:
                failed.append(row)
                continue
            try:
                seconds = self.rough_seconds(row)
                faster = FASTER_ON_ACCELERATORS if on_accelerator(row.experiment) else FASTER
                left = deadline - time.monotonic()
                might_fit = seconds / faster <= left and time.monotonic() < probed_until
                if might_fit or first[0] is None:
                    self._dataset(row.experiment)  # fails before the network is compiled
                if might_fit:
                    seconds = self.seconds(row)
            except DataError as failure:
                _say(f"{row.experiment.dataset}: {summarize(failure)}")
                without_data.add(row.experiment.dataset)
                failed.append(row)
                continue
            except Exception as failure:
                _say(f"{row.tag}: {summarize(failure)}")
                failed.append(row)
                continue
            if seconds <= deadline - time.monotonic():
                return row, seconds
            first = first if first[0] else (row, seconds)
        return first

    def _with_checkpoints_by_the_minute(self, row, seconds):
        """Return the row's experiment, which takes `seconds`, with checkpoints at least about a minute apart.

        Their interval is a multiple of the row's own, so that compiled calls keep their length.
        """
        plan, parameters = self._job(row).plan, row.experiment.train_parameters
        steps = self._images_left(row) / plan.batch_size
        minutes = max((seconds - self._overhead(row)) / CHECKPOINT_SECONDS, 1e-9)
        intervals = max(1, round(steps / plan.checkpoint / minutes))
        parameters = parameters.model_copy(update={"checkpoint_interval": Duration(steps=intervals * plan.checkpoint)})
        return row.experiment.model_copy(update={"train_parameters": parameters})

    def _publish(self, row, progress):
        run, dataset = RunFolder.of(row.experiment, row.seed), self._dataset(row.experiment)
        return publish(run, dataset, self._weights, row.tag, row.recipe, row.preference, row.remark, progress)

    def _report(self, entry, progress):
        """Write the report of a published row; a failure loses nothing."""
        try:
            write_report_page(entry, self._weights, self._data_dir, progress)
        except Exception as failure:
            _say(f"{entry.tag}: published without its report: {summarize(failure)}")

    def _published(self):
        """Return the entries of published weights, by each of their tags."""
        return {tag: entry for entry in self._weights.entries() for tag in (entry.tag, *entry.aliases)}

    def _dataset(self, experiment):
        name = experiment.dataset
        if name not in self._datasets:
            self._datasets[name] = load(name, self._data_dir)
        return self._datasets[name]

    def _job(self, row) -> Job:
        """Return the row's job without its data, which are needed only when the row is trained."""
        if row.tag not in self._jobs:
            self._jobs[row.tag] = prepare(row.experiment, info(row.experiment.dataset), [row.seed])
        return self._jobs[row.tag]

    def _images_left(self, row):
        """Return the training images left, as the number of full-size images with the same arithmetic."""
        plan, saved = self._job(row).plan, self._saved(row)
        return plan.full_size_images(min(saved["step"], plan.total) if saved else 0)

    def _overhead(self, row):
        """Estimate the seconds apart from training; evaluating an image takes a third of training on it."""
        return FIXED_SECONDS + EVALUATED_IMAGES / 3 * self._image_seconds(row)

    def _image_seconds(self, row):
        """Estimate the seconds per full-size image from the row's checkpoint, or its arithmetic at ResNet-20's rate."""
        if steady := self._steady(row):
            return steady["seconds"] / steady["images"]
        return row.experiment.operations(catalogued_macs(row.experiment), 1) / self._rate(row)

    def _steady(self, row):
        """Return the checkpoint's images and seconds without compilation if it was made on this device, else None."""
        saved = self._saved(row)
        if saved and saved["steady"]["images"] and is_from_here(saved, self._job(row)):
            return saved["steady"]
        return None

    def _rate(self, row):
        experiment = self._job(row).experiment
        device = experiment.precision, experiment.distribution
        if device not in self._rates:
            self._rates[device] = probe(*device)
        return self._rates[device]

    def _saved(self, row):
        """Return the meta data of the row's checkpoint if it is past the first step, else None."""
        saved = RunFolder.of(row.experiment, row.seed).checkpoint_meta()
        return saved if saved and saved["step"] else None


def _say(line):
    print(line, flush=True)
