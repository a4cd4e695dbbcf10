"""The official archives from a local server: whole, damaged, in pieces, and for several processes at once."""

import hashlib
import http.server
import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cifar_archives import FILES, file_contents, made_up_images, write_tar

from cifarzoo.data import archives, load
from cifarzoo.data import download as module
from cifarzoo.errors import DataError
from cifarzoo.transfer import transfer

CONTENT = np.random.default_rng(0).bytes(300_000)
NAME = "cifar-10-python.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content` under any name, only its first `server.cut` bytes if that is set, and Range."""

    def do_GET(self):
        content, start = self.server.content, 0
        if asked := self.headers["Range"]:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.server.starts.append(start)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.cut])

    def log_message(self, *_):
        """Write no log."""


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server of CONTENT, whose hash is the expected one; no archive is anywhere else."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CIFARZOO_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(transfer, "PAUSES", (0,))
    host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.content, host.cut, host.starts = CONTENT, None, []
    monkeypatch.setattr(module, "SERVER", f"http://127.0.0.1:{host.server_address[1]}/~kriz")
    monkeypatch.setitem(module.ARCHIVES, "cifar10", (NAME, hashlib.sha256(CONTENT).hexdigest()))
    thread = threading.Thread(target=host.serve_forever, args=(0.01,))
    thread.start()
    yield host
    host.shutdown()
    thread.join()
    host.server_close()


def datasets(tmp_path):
    return tmp_path / "keras" / "datasets"


def test_keras_states_the_same_addresses_and_hashes():
    keras = Path(importlib.util.find_spec("keras").origin).parent  # read, because importing it takes seconds
    for dataset, (name, sha256) in module.ARCHIVES.items():
        text = "".join(path.read_text(encoding="utf-8") for path in keras.rglob(f"datasets/{dataset}.py"))
        assert f'"{module.SERVER}/{name}"' in text and f'"{sha256}"' in text


def test_an_archive_is_downloaded_once_and_read(server, monkeypatch, tmp_path, capfd):
    folder = "cifar-10-batches-py"
    members = {f"{folder}/{n}": file_contents(folder, i, c) for i, (n, c) in enumerate(FILES[folder].items())}
    write_tar(tmp_path / "made_up", members)
    server.content = (tmp_path / "made_up").read_bytes()
    monkeypatch.setitem(module.ARCHIVES, "cifar10", (NAME, hashlib.sha256(server.content).hexdigest()))
    np.testing.assert_array_equal(load("cifar10").test.images, made_up_images(10_000, 5))
    captured = capfd.readouterr()
    assert not captured.out and f"cifar10: downloaded to {datasets(tmp_path) / NAME}" in captured.err
    assert {path.name for path in datasets(tmp_path).iterdir()} <= {NAME, f"{NAME}.lock"}
    _, found = archives.find("cifar10", datasets(tmp_path))  # which `load` reads next time
    assert found == datasets(tmp_path) / NAME == module.download("cifar10", datasets(tmp_path)) and server.starts == [0]


def test_a_damaged_download_is_one_line_and_tried_again(server, tmp_path):
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DataError) as raised:
        load("cifar10")
    message = str(raised.value)
    assert f"{module.SERVER}/{NAME}: damaged on its way: sha256 " in message and "\n" not in message
    assert f"no cifar10 archive in {datasets(tmp_path)}; expected one of cifar-10-batches-bin/" in message
    assert "CIFARZOO_DATA" in message and "'synthetic', which needs no download" in message
    assert not (datasets(tmp_path) / NAME).exists() and not (datasets(tmp_path) / f"{NAME}.part").exists()
    server.content = CONTENT
    assert module.download("cifar10", datasets(tmp_path)).read_bytes() == CONTENT


def test_a_partial_download_is_continued_by_the_next_call(server, tmp_path):
    server.cut = 100_000
    with pytest.raises(DataError, match=f"http://127.0.0.1.*{NAME}: the connection to 127.0.0.1 broke off"):
        module.download("cifar10", tmp_path)
    assert not (tmp_path / NAME).exists()
    server.cut, server.starts = None, []
    assert module.download("cifar10", tmp_path).read_bytes() == CONTENT
    assert server.starts[0] > 90_000


def test_a_server_that_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(module, "SERVER", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"it was not downloaded \(http://127.0.0.1:9/.*: 127.0.0.1 cannot be reached"):
        load("cifar10")


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "keras").write_bytes(b"")
    with pytest.raises(DataError, match="keras/datasets: cannot be written"):
        load("cifar10")


def test_nothing_is_downloaded_for_a_folder_that_the_user_named(server, monkeypatch, tmp_path):
    with pytest.raises(DataError, match="no cifar10 archive in .*/given; expected one of"):
        load("cifar10", tmp_path / "given")
    assert not server.starts


def test_two_processes_download_once(server, tmp_path):
    code = f"""
import sys
from pathlib import Path
from cifarzoo.data import download as module
module.SERVER = {module.SERVER!r}
module.ARCHIVES["cifar10"] = {module.ARCHIVES["cifar10"]!r}
module.download("cifar10", Path({str(tmp_path)!r}))
assert "keras" not in sys.modules
"""
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / NAME).read_bytes() == CONTENT and server.starts == [0]
