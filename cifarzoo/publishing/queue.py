"""The factory: fills the table of published weights, as far as a budget of time goes.

It reads the wanted rows (recipes/zoo.yaml), leaves out what the manifest has, goes on with what is half done, and
trains what fits; a finished run is evaluated once on the test images and published. It may be stopped at any moment.
"""

import json
import time
from pathlib import Path

from pydantic import ValidationError

from cifarzoo.data import load
from cifarzoo.data.dataset import info
from cifarzoo.errors import DataError, InUseError, summarize
from cifarzoo.experiment.schedules import Duration
from cifarzoo.experiment.schema import Experiment
from cifarzoo.hardware import device_name
from cifarzoo.pretrained.manifest import read_manifest
from cifarzoo.publishing.publish import GOLDEN_IMAGES, publish, write_pages
from cifarzoo.publishing.wanted import Row
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.estimate import measure_pace, probe
from cifarzoo.training.job import Job, prepare
from cifarzoo.training.resolve_auto import catalogued_macs, on_accelerator
from cifarzoo.training.stopping import Interrupted, StopRequest
from cifarzoo.training.trainer import run

# Building, compiling and publishing, beside the training itself and the evaluation.
FIXED_SECONDS = 60.0
# Images that are evaluated before weights are published: at the run's end, and from the files in both precisions.
EVALUATED_IMAGES = 30_000
# By how much a row's time may be below that of its arithmetic at ResNet-20's rate: wide networks reach more of a
# device, of an accelerator far more.
FASTER, FASTER_ON_ACCELERATORS = 3, 12
# Of the time that is left, what may go into steps of rows to see whether they fit; then one is begun.
PROBING_SHARE = 0.1
# Saving takes as long as many steps of a wide network on an accelerator, where an epoch takes seconds.
CHECKPOINT_SECONDS = 60.0


class Factory:
    """Rows, what is done of them, and how long the rest would take.

    Args:
        rows: As `read_rows` returns them.
        weights: The weights folder.
        data_dir: Of the archives, or None.
    """

    def __init__(self, rows: list[Row], weights: Path, data_dir: str | None = None):
        self._rows, self._jobs = list(rows), {}
        self._weights, self._data_dir = weights, data_dir
        self._datasets, self._rates, self._paces = {}, {}, {}

    def open_rows(self) -> list[Row]:
        """The rows that are not published yet: those that are half done first, and stopgaps last.

        A stopgap is left out where a better recipe's row is published.
        """
        published = {entry.tag for entry in self._published()}
        rows = [
            row for row in self._rows if row.tag not in published and not (row.is_stopgap and row.better & published)
        ]
        return sorted(rows, key=lambda row: (not self._saved(row), row.is_stopgap))

    def changed_rows(self) -> list[Row]:
        """The rows that are published from another version of their recipe, and so are not open."""
        published = {entry.tag: entry for entry in self._published()}
        return [row for row in self._rows if row.tag in published and not _is_of(published[row.tag], row)]

    def rough_seconds(self, row: Row) -> float:
        """Time to finish a row: at the rate of its own checkpoint, or of its arithmetic at ResNet-20's rate.

        Raises:
            CifarzooError: the row does not fit.
        """
        return self._beside(row) + self._image_seconds(row) * self._images_left(row)

    def seconds(self, row: Row) -> float:
        """Time to finish a row, as its checkpoint or else some steps of its own network say; see `rough_seconds`."""
        if self._steady(row):
            return self.rough_seconds(row)
        key = _pace(self._job(row).experiment)
        if key not in self._paces:
            self._paces[key] = measure_pace(self._job(row))
        steps = self._images_left(row) / row.experiment.train_parameters.batch_size
        return self._beside(row) + self._paces[key].startup + self._paces[key].step * steps

    def work(self, budget: float) -> tuple[list[Row], list[Row]]:
        """Train and publish what fits into `budget` seconds; returns the rows that were published and that failed.

        The first open row that fits is taken; where none fits, the first is begun and left half done at the deadline.
        What an earlier factory was stopped in the midst of writing is written anew. Ctrl-C and SIGTERM stop it, too,
        with a checkpoint, or after the publication that goes on; a second one stops it at once.
        """
        deadline, finished, failed = time.monotonic() + budget, [], []
        write_pages(self._weights)
        for row in self.changed_rows():
            _say(f"{row.tag}: published from another version of its recipe; give that a new name to have it trained")

        others = []  # what another process is training

        def rows():
            return [row for row in self.open_rows() if row not in failed + others]

        with (stop := StopRequest()).on_signals():
            while not stop.signal and rows():
                row, seconds = self._choose(rows(), deadline, failed, stop)
                left = deadline - time.monotonic()
                if row is None or left < FIXED_SECONDS or stop.signal:
                    break
                _say(f"{row.tag}: about {seconds / 60:.0f} min, {left / 60:.0f} min left")
                try:
                    # What fits must leave time for its publication; what does not is only saved.
                    end = deadline - (self._beside(row) if seconds <= left else FIXED_SECONDS / 2)
                    experiment = self._saved_by_the_minute(row, seconds)
                    job = prepare(experiment, self._dataset(experiment), [row.seed])
                    run(job, row.seed, stop=stop, deadline=end)
                    entry = self._publish(row)
                    finished.append(row)
                    _say(f"{row.tag}: published, error {entry.metrics['error']:.2f} %")
                except Interrupted as end:
                    _say(str(end))
                    break
                except InUseError as end:
                    _say(f"{row.tag}: {end}")
                    others.append(row)
                except Exception as failure:  # one row must not end the others' time
                    if row.tag in {entry.tag for entry in self._published()}:
                        continue  # by another factory, in the meantime
                    _say(f"{row.tag}: {summarize(failure)}")
                    failed.append(row)
        if left := rows():
            _say(f"next: {', '.join(row.tag for row in left[:3])}; {len(left)} rows are open")
        return finished, failed

    def _choose(self, rows, deadline, failed, stop):
        """The first row that can be finished in time, else the first, with its seconds; None where every row fails."""
        first = None, 0.0
        probed_until = time.monotonic() + PROBING_SHARE * (deadline - time.monotonic())
        without_data = set()
        for row in rows:
            if stop.signal:
                break
            if row.experiment.dataset in without_data:
                failed.append(row)
                continue
            try:
                seconds = self.rough_seconds(row)
                faster = FASTER_ON_ACCELERATORS if on_accelerator(row.experiment) else FASTER
                left = deadline - time.monotonic()
                might_fit = seconds / faster <= left and time.monotonic() < probed_until
                if might_fit or first[0] is None:
                    self._dataset(row.experiment)  # before its network is compiled for nothing
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

    def _saved_by_the_minute(self, row, seconds):
        """The row's experiment, of `seconds` in all, with checkpoints not much less than a minute apart.

        They come every so many of the row's own intervals, so that calls keep their length.
        """
        plan, parameters = self._plan(row), row.experiment.train_parameters
        steps = self._images_left(row) / plan.batch_size
        minutes = max((seconds - self._beside(row)) / CHECKPOINT_SECONDS, 1e-9)
        intervals = max(1, round(steps / plan.checkpoint / minutes))
        parameters = parameters.model_copy(update={"checkpoint_interval": Duration(steps=intervals * plan.checkpoint)})
        return row.experiment.model_copy(update={"train_parameters": parameters})

    def _publish(self, row):
        """Publish; the weights become the default if their recipe is preferred to that of the default so far."""
        golden = load("synthetic").test.images[:GOLDEN_IMAGES]
        return publish(
            RunFolder.of(row.experiment, row.seed),
            row.tag,
            self._dataset(row.experiment),
            self._weights,
            golden,
            recipe=row.recipe,
            preference=row.preference,
            remark=row.remark,
        )

    def _published(self):
        return read_manifest(self._weights / "manifest.json")

    def _dataset(self, experiment):
        name = experiment.dataset
        if name not in self._datasets:
            self._datasets[name] = load(name, self._data_dir)
        return self._datasets[name]

    def _plan(self, row):
        """The row's plan, without its data, which need not be there before a row is trained on them."""
        return self._job(row).plan

    def _job(self, row) -> Job:
        """The row's job, without its data."""
        if row.tag not in self._jobs:
            self._jobs[row.tag] = prepare(row.experiment, info(row.experiment.dataset), [row.seed])
        return self._jobs[row.tag]

    def _images_left(self, row):
        """How many images of full size would be the arithmetic that is left of a row."""
        plan, saved = self._plan(row), self._saved(row)
        return plan.full_size_images(min(saved["step"], plan.total) if saved else 0)

    def _beside(self, row):
        """Seconds beside the training itself; an evaluated image is a third of a trained one."""
        return FIXED_SECONDS + EVALUATED_IMAGES / 3 * self._image_seconds(row)

    def _image_seconds(self, row):
        """Seconds of a training image of full size, by the row's checkpoint or its arithmetic at ResNet-20's rate."""
        if steady := self._steady(row):
            return steady["seconds"] / steady["images"]
        return row.experiment.operations(catalogued_macs(row.experiment), 1) / self._rate(row)

    def _steady(self, row):
        """Images and seconds that the row's checkpoint has of the device at hand, without compilation; None if none."""
        saved = self._saved(row)
        if saved and saved["steady"]["images"] and _is_from_here(saved, self._job(row)):
            return saved["steady"]
        return None

    def _rate(self, row):
        experiment = self._job(row).experiment
        device = experiment.precision, experiment.distribution
        if device not in self._rates:
            self._rates[device] = probe(*device)
        return self._rates[device]

    def _saved(self, row):
        """What the checkpoint of a row says of itself, if it is past the first step; else None."""
        saved = RunFolder.of(row.experiment, row.seed).checkpoint_meta()
        return saved if saved and saved["step"] else None


def _is_from_here(saved, job):
    """Whether the seconds of a checkpoint are those of the devices at hand, and of no others."""
    return saved["provenance"]["device"] == device_name(job.replicas)


def _is_of(entry, row):
    """Whether an entry was trained as a row says, but for its precision, which is the device's, and its intervals."""
    try:
        earlier = Experiment.model_validate(entry.training["experiment"])
    except ValidationError:
        return False
    return _decisive(earlier) == _decisive(row.experiment)


def _decisive(experiment):
    length = {"steps": 1}
    parameters = experiment.train_parameters.model_dump() | {
        "run_name": "any",
        "log_interval": length,
        "val_interval": length,
    }
    document = experiment.model_dump() | {"train_parameters": parameters, "precision": "auto"}
    return Experiment.model_validate(document).fingerprint()


def _pace(experiment):
    """What the time of a step depends on."""
    document, parameters = experiment.model_dump(mode="json"), experiment.train_parameters
    keys = ("model", "model_parameters", "dataset", "augmentation", "precision", "distribution", "xla")
    costly = parameters.batch_size, parameters.accumulate, bool(parameters.sam_rho), bool(parameters.averages)
    return json.dumps([[document[key] for key in keys], costly], sort_keys=True)


def _say(line):
    print(line, flush=True)
