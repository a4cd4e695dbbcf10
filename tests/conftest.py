"""What takes long to make and several modules need."""

import pytest
from small_zoo import ROWS, factory


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A folder in which the factory has trained and published its one row; and what it printed."""
    folder = tmp_path_factory.mktemp("factory")
    (folder / "rows.yaml").write_text(ROWS)
    (folder / "weights").mkdir()
    (folder / "weights" / "manifest.json").write_text("[]")
    first = factory(folder, "--budget", "1h")
    assert first.returncode == 0, first.stderr[-3000:]
    return folder, first.stdout
