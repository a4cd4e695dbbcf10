"""Seeds that train together resume from one step, whenever the process was killed while it saved them."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
from test_damaged_files import META

from cifarzoo.errors import InUseError
from cifarzoo.runs.folder import RunFolder, finish_saving
from cifarzoo.training import trainer
from cifarzoo.training.engines.channel import Channel
from cifarzoo.training.run_callbacks import RunCallbacks
from cifarzoo.training.stopping import Interrupted, StopRequest


def saved(folder, step, is_next=False):
    meta = META | {"step": step, "fingerprint": "same"}
    folder.save_checkpoint({"weights": np.full(3, float(step))}, meta, is_next=is_next)


@pytest.mark.parametrize("killed_after, step", [(0, 8), (1, 8), (2, 8), (3, 16), (4, 16)])
def test_all_seeds_resume_from_one_step(tmp_path, killed_after, step):
    """Killed after so many of the four operations of a save: both next checkpoints written, then both accepted."""
    folders = [RunFolder(tmp_path / f"seed{seed}") for seed in (3, 4)]
    for folder in folders:
        folder.path.mkdir()
        saved(folder, 8)
    operations = [lambda f=f: saved(f, 16, is_next=True) for f in folders]
    operations += [folder.accept_next_checkpoint for folder in folders]
    for operation in operations[:killed_after]:
        operation()
    finish_saving(folders)
    for folder in folders:
        arrays, meta = folder.load_checkpoint()
        assert meta["step"] == step and (arrays["weights"] == step).all()
        assert not folder.next_checkpoint_path.exists()


def test_a_next_checkpoint_older_than_its_seeds_own_is_not_accepted(tmp_path):
    """The process died between the two; then the first seed went on alone."""
    folders = [RunFolder(tmp_path / f"seed{seed}") for seed in (3, 4)]
    for folder, step in zip(folders, (40, 16), strict=True):
        folder.path.mkdir()
        saved(folder, step)
    saved(folders[0], 16, is_next=True)
    finish_saving(folders)
    assert folders[0].load_checkpoint()[1]["step"] == 40 and not folders[0].next_checkpoint_path.exists()


def test_a_next_checkpoint_of_another_experiment_is_not_accepted(tmp_path):
    folders = [RunFolder(tmp_path / f"seed{seed}") for seed in (3, 4)]
    for folder in folders:
        folder.path.mkdir()
    saved(folders[0], 16)
    folders[1].save_checkpoint({}, META | {"step": 16, "fingerprint": "other"}, is_next=True)
    finish_saving(folders)
    assert folders[1].load_checkpoint() is None and not folders[1].next_checkpoint_path.exists()


def test_a_seed_that_another_process_trains_does_not_keep_the_others_apart(tmp_path, monkeypatch):
    """The process died between the second and the third seed's next checkpoint; seed 6 has finished."""

    class Brief(trainer.Run):
        """A run that locks its folder and stops before its first step."""

        def __init__(self, job, seed, callbacks):
            self.job, self.seed, self.folder, self.workers = job, seed, job.folder(seed), Channel()
            self.outcome, self._lock, self._callbacks = None, contextlib.ExitStack(), RunCallbacks(self, callbacks)

        def start(self):
            self.end(Interrupted("enough"))

    folders = {seed: RunFolder(tmp_path / f"seed{seed}") for seed in (3, 4, 5, 6)}
    for folder in folders.values():
        folder.path.mkdir()
    for seed, step in ((3, 8), (4, 16), (5, 8), (6, 16)):
        saved(folders[seed], step)
    for seed in (3, 5, 6):
        saved(folders[seed], 16, is_next=True)
    folders[6].results_path.touch()
    job = SimpleNamespace(folder=folders.get, is_chief=True, experiment=SimpleNamespace(name="a"))
    monkeypatch.setattr(trainer, "Run", Brief)
    with folders[3].locked():
        outcomes = trainer.run_together(job, list(folders), stop=StopRequest())
    assert [type(one) for one in outcomes] == [InUseError, Interrupted, Interrupted, Interrupted]
    assert [folders[seed].checkpoint_meta()["step"] for seed in folders] == [8, 16, 16, 16]
    # Only a locked folder is changed, and that of a finished run is none.
    assert [folders[seed].next_checkpoint_path.exists() for seed in folders] == [True, False, False, True]
