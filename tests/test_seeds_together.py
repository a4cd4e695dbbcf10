"""Seeds that train together resume from one step, whenever the process was killed while it saved them."""

import numpy as np
import pytest
from test_damaged_files import META

from cifarzoo.runs.folder import RunFolder, finish_saving


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


def test_a_next_checkpoint_of_another_experiment_is_not_accepted(tmp_path):
    folders = [RunFolder(tmp_path / f"seed{seed}") for seed in (3, 4)]
    for folder in folders:
        folder.path.mkdir()
    saved(folders[0], 16)
    folders[1].save_checkpoint({}, META | {"step": 16, "fingerprint": "other"}, is_next=True)
    finish_saving(folders)
    assert folders[1].load_checkpoint() is None and not folders[1].next_checkpoint_path.exists()
