"""The folder of one run: its files, each named here alone, and how to read and write them."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo import strict_yaml
from cifarzoo.checksum import sha256
from cifarzoo.errors import CheckpointError, CifarzooError, DataError, ExperimentError, InUseError
from cifarzoo.experiment.differences import named_keys
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.fingerprints import decisive_differences, fingerprints
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs import atomic, checkpoint, locks
from cifarzoo.runs.kept import KeptWeights
from cifarzoo.runs.results import Results
from cifarzoo.runs.split_positions import PARTS, StoredParts

CONFIG, RESULTS, WEIGHTS, LOG = "config.yaml", "results.json", "final.weights.h5", "log.tsv"
CHECKPOINT, NEXT_CHECKPOINT = "checkpoint.npz", "next_checkpoint.npz"
LOCK, REPORT, EVENTS = "lock", "report.html", "events.out.tfevents.*"
OWN_FILES = (CONFIG, RESULTS, WEIGHTS, CHECKPOINT, NEXT_CHECKPOINT, LOG, LOCK, REPORT, PARTS)
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, None}

# Names of devices, with any suffix, and names that end in a dot: Windows has no such folders.
NOT_ON_WINDOWS = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?|.*\.", re.IGNORECASE)


class RunFolder:
    """What one run, an experiment with one seed, keeps on disk.

    Attributes:
        path: The folder, logdir/run_name/seed0 for seed 0.
        config_path: The resolved experiment, written when the run starts.
        log_path: A table with one row per log interval and validation.
        checkpoint_path: The state to resume from.
        next_checkpoint_path: The state that replaces the checkpoint once all seeds that train together have written
            theirs.
        weights_path: The final weights.
        results_path: The results, written last: a run with results has finished.
        report_path: Where `cifarzoo report` writes by default.
        kept: The weights that were kept along the way.
        parts: The positions of the images in splits that are parts of another.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config_path = self.path / CONFIG
        self.log_path = self.path / LOG
        self.checkpoint_path = self.path / CHECKPOINT
        self.next_checkpoint_path = self.path / NEXT_CHECKPOINT
        self.weights_path = self.path / WEIGHTS
        self.results_path = self.path / RESULTS
        self.report_path = self.path / REPORT
        self.kept = KeptWeights(self.path)
        self.parts = StoredParts(self.path)

    @classmethod
    def of(cls, experiment: Experiment, seed: int) -> "RunFolder":
        """Return the folder of an experiment's run: logdir/run_name/seed0.

        Raises:
            ExperimentError: Windows cannot have a folder of the run's name.
        """
        if os.name == "nt" and NOT_ON_WINDOWS.fullmatch(experiment.name):
            raise ExperimentError(f"{experiment.name}: not a folder's name on Windows; set train_parameters.run_name")
        return cls(Path(experiment.train_parameters.logdir) / experiment.name / f"seed{seed}")

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    # ------------------------------------------------------------------------------------------------ state
    @property
    def has_started(self) -> bool:
        """Whether the run has written its configuration."""
        return self.config_path.is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run has written its results, which it does last."""
        return self.results_path.is_file()

    @property
    def has_events(self) -> bool:
        """Whether TensorBoard's files have been begun."""
        return any(self.path.glob(EVENTS))

    def finished_seeds(self) -> list["RunFolder"]:
        """Return the finished runs in the same parent folder, this one included, sorted by name."""
        return [RunFolder(path.parent) for path in sorted(self.path.resolve().parent.glob(f"*/{RESULTS}"))]

    @staticmethod
    def finished_below(folder: Path) -> list["RunFolder"]:
        """Return all finished runs below a folder, at any depth, sorted by path."""
        return [RunFolder(path.parent) for path in sorted(folder.rglob(RESULTS))]

    # ------------------------------------------------------------------------------------------------ reading

    def experiment(self) -> Experiment:
        """Return the experiment of the run, from this folder or, as some other systems keep it, from the parent folder.

        Raises:
            DataError: its configuration is missing or cannot be read. ExperimentError: it is not a valid experiment.
        """
        path = self._find_config()
        try:
            # Filled-in defaults, and lists passed from Python, make it longer than a file of experiments may be.
            document = strict_yaml.parse(self._read(path), str(path), any_length=True)
        except ExperimentError as failure:
            raise DataError(str(failure)) from None
        if not isinstance(document, dict):
            raise DataError(f"{path}: expected the configuration of a run, got {document!r:.80}")
        return experiment_from([document], str(path))

    def results(self) -> Results:
        """Return the results of the run.

        Raises:
            DataError: it has not finished, or the file is damaged.
        """
        if not self.is_finished:
            raise DataError(f"{self.path}: not a finished run: {RESULTS} is missing")
        try:
            return Results.parse(self._read(self.results_path))
        except ValueError as failure:
            raise DataError(
                f"{self.results_path}: not the results of a run ({failure}); if it is damaged, delete it and run the "
                "experiment again, which resumes from the last checkpoint"
            ) from None

    def final_weights(self) -> Path:
        """Return the path of the final weight file, after comparing it with the hash in the results.

        Results of older versions have no hash. A run that ended between writing its weights and its results has none,
        either; its file is returned unchecked.

        Raises:
            DataError: the file is missing or has changed, or the results are damaged.
        """
        again = f"delete {RESULTS} and run the experiment again, which writes it from the last checkpoint"
        if not self.weights_path.is_file():
            if not self.is_finished:
                raise self._not_finished()
            raise DataError(f"{self.weights_path}: missing, although the run has finished; {again}")
        recorded = self.results().weights_sha256 if self.is_finished else None
        if recorded is not None and recorded != (actual := sha256(self.weights_path)):
            raise DataError(
                f"{self.weights_path}: not the file that the run wrote: sha256 {actual[:16]}... instead of "
                f"{recorded[:16]}...; {again}"
            )
        return self.weights_path

    def _find_config(self) -> Path:
        for path in (self.config_path, self.path.parent / CONFIG):
            if path.is_file():
                return path
        raise self._not_finished()

    def _not_finished(self) -> DataError:
        seeds = sorted(path.parent.name for path in self.path.glob(f"*/{WEIGHTS}"))
        hint = f"; its runs are {', '.join(seeds)}" if seeds else ""
        return DataError(f"{self.path}: not a finished run: {CONFIG} and {WEIGHTS} are expected there{hint}")

    @staticmethod
    def _read(path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as failure:
            reason = getattr(failure, "strerror", None) or "not text in UTF-8"
            raise DataError(f"{path}: cannot be read ({reason})") from None

    # ------------------------------------------------------------------------------------------------ writing

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder and lock it; the OS releases the lock when the process exits for any reason.

        A folder created here is removed again if nothing was written to it.

        Raises:
            InUseError: another process holds it.
            CheckpointError: the folder cannot be written or locked.
        """
        created = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        with contextlib.ExitStack() as stack:
            stack.callback(locks.remove_unused, self.path / LOCK, created)
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locks.locked(self.path / LOCK))
            except BlockingIOError:
                raise InUseError(
                    f"{self.path}: another process (number {locks.owner_of(self.path / LOCK)}) is training there; "
                    "wait for it, or set another run_name"
                ) from None
            except OSError as failure:
                reason = failure.strerror or failure
                if failure.errno in NO_LOCKS:
                    raise CheckpointError(
                        f"{self.path}: its file system has no locks ({reason}); set train_parameters.logdir to another"
                    ) from None
                raise CheckpointError(
                    f"{self.path}: cannot be written ({reason}); set train_parameters.logdir"
                ) from None
            yield

    def write_config(self, experiment: Experiment) -> None:
        """Write the resolved experiment, which marks the run as started.

        Raises:
            OSError: it cannot be written.
        """
        atomic.write_text(self.config_path, strict_yaml.dump(experiment.resolved()))

    def write_results(self, results: Results) -> None:
        """Write the results, which marks the run as finished; write everything else before.

        Raises:
            OSError: they cannot be written.
        """
        atomic.write_text(self.results_path, json.dumps(results.as_dict(), indent=2) + "\n")

    # ------------------------------------------------------------------------------------------------ checkpoints

    def save_checkpoint(self, arrays: dict[str, np.ndarray], meta: dict[str, Any], is_next: bool = False) -> None:
        """Replace the checkpoint, or write the next one if `is_next`; see `cifarzoo.runs.checkpoint.save`.

        Raises:
            CheckpointError: it cannot be written.
        """
        checkpoint.save(self.next_checkpoint_path if is_next else self.checkpoint_path, arrays, meta)

    def accept_next_checkpoint(self) -> None:
        """Replace the checkpoint with the next one."""
        atomic.replace(self.next_checkpoint_path, self.checkpoint_path)

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Read the arrays and meta data of the checkpoint; return None if there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        return checkpoint.load(self.checkpoint_path)

    def checkpoint_meta(self) -> dict[str, Any] | None:
        """Read only the meta data of the checkpoint; return None if there is none that can be read."""
        return checkpoint.read_meta(self.checkpoint_path)

    def check_belongs_to(self, experiment: Experiment) -> None:
        """Check that the results or the checkpoint in the folder, if any, are those of an experiment.

        Raises:
            CheckpointError: they are another experiment's; the message names settings that differ.
            DataError: the results are damaged.
        """
        if self.is_finished:
            fingerprint = self.results().fingerprint
        elif meta := self.checkpoint_meta():
            fingerprint = meta.get("fingerprint", "")
        else:
            return
        if fingerprint in fingerprints(experiment):
            return
        different = named_keys(self._differences(experiment))
        raise CheckpointError(
            f"{self.path}: holds a run of another experiment{different}; set another run_name, or delete the folder"
        )

    def _differences(self, experiment: Experiment) -> list[str]:
        try:
            return decisive_differences(self.experiment(), experiment)
        except CifarzooError:
            return []


def finish_saving(folders: Sequence[RunFolder]) -> None:
    """Bring the checkpoints of seeds that train together to the same step, if the process died while saving them.

    All next checkpoints are written before the first is accepted. So if one was accepted, accept the others, except
    for seeds that have trained further alone; delete the rest. The caller holds the locks of the folders.
    """
    metas = [folder.checkpoint_meta() for folder in folders]
    accepted = {(meta["fingerprint"], meta["step"]) for meta in metas if meta}
    for folder, meta in zip(folders, metas, strict=True):
        following = checkpoint.read_meta(folder.next_checkpoint_path)
        last = meta["step"] if meta else -1
        if following and following["step"] > last and (following["fingerprint"], following["step"]) in accepted:
            folder.accept_next_checkpoint()
        folder.next_checkpoint_path.unlink(missing_ok=True)
