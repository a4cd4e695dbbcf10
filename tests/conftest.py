"""Fixtures that are slow to make and shared by several test files."""

import pytest
from small_zoo import ROWS, fill_zoo


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A folder in which the queue has trained and published its one row, and the queue's output."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "rows.yaml").write_text(ROWS)
    (folder / "weights").mkdir()
    (folder / "weights" / "manifest.json").write_text("[]")
    first = fill_zoo(folder, "--budget", "1h")
    assert first.returncode == 0, first.stderr[-3000:]
    return folder, first.stdout
