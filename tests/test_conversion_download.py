"""Downloads from a local server that drops connections, changes files, redirects, is slow, and sends web pages."""

import contextlib
import gzip
import hashlib
import http.server
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from cifarzoo.conversion import download
from cifarzoo.conversion.entries import File, entries
from cifarzoo.conversion.readers import read_checkpoint
from cifarzoo.errors import UnreachableError, WeightsError
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.pretrained.selection import weight_file
from cifarzoo.transfer import transfer, web_pages

DATA = np.random.default_rng(0).bytes(100_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
BLOB = hashlib.sha1(b"blob 100000\0" + DATA).hexdigest()


class Host(http.server.ThreadingHTTPServer):
    """A server whose files and faults a test sets.

    Attributes:
        files: Contents by path.
        tag: The ETag of all files, None for none.
        drops: After how many bytes of the file to drop the connections to come, one after another.
        answers: Status and headers by path, instead of a file.
        lengths: Whether it says how long files are; if not, the end of the connection is all that tells.
        ranged: Whether it knows Range.
        pause: Seconds between pieces of 10,000 bytes.
        requests: Path and Range of every request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.tag, self.drops, self.answers = {"/x.pth": DATA}, '"1"', [], {}
        self.lengths = True
        self.ranged, self.pause, self.requests, self.modified, self.kind = True, 0, [], None, "application/octet-stream"

    def url(self, path="/x.pth"):
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, *_):
        """Say nothing about clients that go away."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as its `Host` says."""

    def do_GET(self):
        host, path = self.server, self.path.partition("?")[0]
        host.requests.append((self.path, self.headers["Range"]))
        status, headers = host.answers.get(path, (200, {}))
        content = host.files.get(path, b"" if status != 200 else None)
        if content is None:
            status, content = 404, b"<!DOCTYPE html><title>Page not found</title>"
        start = 0
        unchanged = self.headers["If-Range"] in (host.tag, host.modified)
        if host.ranged and status == 200 and self.headers["Range"] and unchanged:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            status = 206 if start < len(content) else 416
            headers = {
                "Content-Range": f"bytes {'*' if status == 416 else f'{start}-{len(content) - 1}'}/{len(content)}"
            }
        self.send_response(status)
        for key, value in {
            "ETag": host.tag,
            "Last-Modified": host.modified,
            "Content-Type": host.kind,
            **headers,
        }.items():
            if value:
                self.send_header(key, value)
        body = content[start:] if status != 416 else b""
        if host.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        drop = host.drops.pop(0) - start if host.drops else len(body)
        for position in range(0, min(drop, len(body)), 10_000):
            self.wfile.write(body[position : min(position + 10_000, drop)])
            time.sleep(host.pause)
        if drop < len(body):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        """Write no log."""


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSES", (0, 0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Host()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def file_at(host, path="/x.pth", **values):
    return File(host.url(path), "torch", **values)


def refusal(file, folder):
    with pytest.raises(WeightsError) as failure:
        download.fetch(file, folder)
    text = str(failure.value)
    assert "\n" not in text and len(text) < 500
    return text


def names(folder):
    return sorted(path.name for path in folder.iterdir() if ".lock" not in path.name)


HASHES = {"sha256": SHA256, "sha256_prefix": SHA256[:8], "git_blob": BLOB}


@pytest.mark.parametrize("kind", HASHES)
def test_a_download_is_checked_by_every_kind_of_hash(host, tmp_path, kind):
    file = file_at(host, hashes={kind: HASHES[kind]}, size=100_000)
    seen = []
    path = download.fetch(file, tmp_path / "new" / "folder", lambda *count: seen.append(count))
    assert path == tmp_path / "new" / "folder" / "x.pth" and path.read_bytes() == DATA
    assert names(path.parent) == ["x.pth"]
    assert seen[-1] == (100_000, 100_000) and len(seen) > 5 and seen == sorted(seen)
    assert download.fetch(file, path.parent) == path and len(host.requests) == 1
    wrong = file_at(host, hashes={kind: HASHES[kind].translate(str.maketrans("0123456789", "1234567890"))})
    assert refusal(wrong, path.parent).endswith("; delete it")
    path.unlink()
    text = refusal(wrong, path.parent)
    assert text.startswith(f"{host.url()}: not the published file: ") and HASHES[kind][:16] in text
    assert names(path.parent) == []


def test_several_hashes_are_all_checked(host, tmp_path):
    assert "SHA-256" in refusal(file_at(host, hashes={"git_blob": BLOB, "sha256": "0" * 64}), tmp_path)
    assert "git's hash" in refusal(file_at(host, hashes={"git_blob": "0" * 40, "sha256": SHA256}), tmp_path)
    assert "has 100,000 bytes instead of 7" in refusal(file_at(host, size=7), tmp_path)


def test_folders_and_pipes_are_named(tmp_path):
    file = File("https://example.org/net.pth", "torch", {"sha256": SHA256})
    with pytest.raises(WeightsError, match=": is a folder$"):
        download.check(tmp_path, file)
    with pytest.raises(WeightsError, match=": does not exist$"):
        download.check(tmp_path / "net.pth", file)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(WeightsError, match=": is not a regular file$"):
            download.check(tmp_path / "pipe", file)


def test_dropped_connections_are_continued(host, tmp_path):
    host.drops = [30_000, 30_000, 65_000]
    path = download.fetch(file_at(host, hashes={"sha256": SHA256}), tmp_path)
    assert path.read_bytes() == DATA
    starts = [int(part.removeprefix("bytes=").removesuffix("-")) for _, part in host.requests[1:]]
    assert len(starts) == 3 and 20_000 < starts[0] <= starts[1] <= 30_000 < 55_000 < starts[2] <= 65_000


def test_a_later_call_continues_and_an_unfinished_file_is_never_taken_for_a_whole_one(host, tmp_path):
    host.drops = [30_000] * 4
    text = refusal(file_at(host), tmp_path)
    assert "the connection to 127.0.0.1 broke off" in text and text.endswith(f"put it at {tmp_path / 'x.pth'}")
    assert names(tmp_path) == ["x.pth.part", "x.pth.part.json"]
    host.requests.clear()
    assert download.fetch(file_at(host), tmp_path).read_bytes() == DATA
    assert host.requests[0][1].startswith("bytes=2") and names(tmp_path) == ["x.pth"]


@pytest.mark.parametrize("change", ["tag", "no tag", "weak tag", "no ranges", "date", "other address", "no facts"])
def test_a_changed_file_is_downloaded_from_its_beginning(host, tmp_path, change):
    host.tag = {"no tag": None, "weak tag": 'W/"1"', "date": None}.get(change, '"1"')
    host.modified = "Wed, 21 Oct 2015 07:28:00 GMT" if change == "date" else None
    host.drops = [50_000] * 4
    refusal(file_at(host), tmp_path)
    other = DATA[::-1]
    host.files |= {"/x.pth": other, "/y/x.pth": other}
    host.tag = '"2"' if change == "tag" else host.tag
    host.modified = "Wed, 28 Oct 2015 07:28:00 GMT" if change == "date" else None
    host.ranged = change != "no ranges"
    if change == "no facts":
        (tmp_path / "x.pth.part.json").unlink()
    host.requests.clear()
    path = download.fetch(file_at(host, "/y/x.pth" if change == "other address" else "/x.pth"), tmp_path)
    assert path.read_bytes() == other and len(host.requests) == 1


def test_a_file_whose_server_lies_about_its_version_is_downloaded_again(host, tmp_path):
    host.drops = [50_000] * 4
    refusal(file_at(host), tmp_path)
    host.files["/x.pth"] = DATA[::-1]
    digest = hashlib.sha256(DATA[::-1]).hexdigest()
    assert download.fetch(file_at(host, hashes={"sha256": digest}), tmp_path).read_bytes() == DATA[::-1]
    assert [bool(part) for _, part in host.requests[-2:]] == [True, False]


def test_a_download_that_was_stopped_just_before_its_end(host, tmp_path):
    (tmp_path / "x.pth.part").write_bytes(DATA)
    facts = {"url": host.url(), "validator": '"1"'}
    (tmp_path / "x.pth.part.json").write_text(json.dumps(facts), encoding="utf-8")
    assert download.fetch(file_at(host, hashes={"sha256": SHA256}), tmp_path).read_bytes() == DATA
    assert host.requests == [("/x.pth", "bytes=100000-")]


def test_a_partial_file_longer_than_the_file(host, tmp_path):
    (tmp_path / "x.pth.part").write_bytes(DATA + b"x")
    facts = {"url": host.url(), "validator": '"1"'}
    (tmp_path / "x.pth.part.json").write_text(json.dumps(facts), encoding="utf-8")
    assert download.fetch(file_at(host), tmp_path).read_bytes() == DATA


def test_without_hash_and_length_the_content_tells_whether_a_file_is_whole(host, tmp_path):
    npz = io.BytesIO()
    np.savez(npz, a=np.arange(20_000.0))
    host.files["/x.pth"], host.lengths = npz.getvalue(), False
    for wrong in (npz.getvalue()[:80_000], b'{"error": "gone"}', b"<?xml version='1.0'?><Error>AccessDenied</Error>"):
        host.files["/x.pth"] = wrong
        with pytest.raises(WeightsError, match=r"x\.pth: (damaged|has an unknown format).*or the download is damaged"):
            download.fetch(file_at(host), tmp_path, read=read_checkpoint)
        assert names(tmp_path) == []
    host.files["/x.pth"] = npz.getvalue()
    assert download.fetch(file_at(host), tmp_path, read=read_checkpoint).read_bytes() == npz.getvalue()


def test_compressed_answers_are_refused(host, tmp_path):
    host.files["/x.pth"], host.answers = gzip.compress(DATA), {"/x.pth": (200, {"Content-Encoding": "gzip"})}
    text = refusal(file_at(host), tmp_path)
    assert text.startswith(f"{host.url()}: the server sends the file compressed (gzip)") and names(tmp_path) == []


def test_redirects_are_followed(host, tmp_path):
    host.answers = {"/a.pth": (302, {"Location": "/b"}), "/b": (301, {"Location": host.url()})}
    assert download.fetch(file_at(host, "/a.pth"), tmp_path) == tmp_path / "a.pth"
    host.answers = {"/a": (302, {"Location": "/b"}), "/b": (302, {"Location": "/a"})}
    assert "redirects in a circle" in refusal(file_at(host, "/a"), tmp_path)
    host.answers = {"/a": (302, {"Location": "file:///etc/passwd"})}
    assert "the server's answer cannot be used (InvalidSchema" in refusal(file_at(host, "/a"), tmp_path)


def test_missing_files_and_busy_servers(host, tmp_path):
    assert "HTTP 404 Not Found: the server does not give the file" in refusal(file_at(host, "/none"), tmp_path)
    host.answers = {"/x.pth": (503, {})}
    assert "HTTP 503 Service Unavailable: the server is busy" in refusal(file_at(host), tmp_path)
    assert [path for path, _ in host.requests] == ["/none", "/x.pth", "/x.pth", "/x.pth"]
    host.files["/empty"] = b""
    assert "sends an empty file" in refusal(file_at(host, "/empty"), tmp_path)


PAGES = {
    "<!DOCTYPE html><html><title>We,\n moved\x1b[3m</title>": "a web page (We, moved\\x1b[3m) came instead of the file",
    "<html><a href='https://accounts.google.com/v3/signin'>": "asks to sign in: the file is not public any more",
    "\n<HTML><title>Google Drive - Quota exceeded</title>": "Google Drive's quota for this file is used up",
    "<div>no title</div>": "a web page came instead of the file",
}


@pytest.mark.parametrize("page", PAGES)
def test_web_pages_instead_of_files(host, tmp_path, page):
    host.files["/x.pth"], host.kind = page.encode(), "text/html; charset=utf-8"
    assert PAGES[page] in refusal(file_at(host), tmp_path)
    assert names(tmp_path) == []


def test_files_that_are_called_web_pages(host, tmp_path):
    host.kind = "text/html"
    assert download.fetch(file_at(host), tmp_path).read_bytes() == DATA


def test_google_drive(host, tmp_path, monkeypatch):
    for url in (
        "https://drive.google.com/uc?id=a-b_1&export=download",
        "https://docs.google.com/uc?export=download&confirm=t&id=a-b_1",
        "https://drive.google.com/file/d/a-b_1/view?usp=sharing",
    ):
        assert web_pages.drive_id(url) == "a-b_1"
        assert web_pages.direct_address(url).startswith("https://drive.usercontent.google.com/download?id=a-b_1&")
    assert web_pages.drive_id("https://example.org/uc?id=1") is None
    monkeypatch.setattr(web_pages, "DRIVE", host.url("/download"))
    host.files["/download"] = DATA
    file = File("https://drive.google.com/uc?id=a-b_1", "torch", {"sha256": SHA256})
    assert download.fetch(file, tmp_path) == tmp_path / "a-b_1"
    assert host.requests == [("/download?id=a-b_1&export=download&confirm=t", None)]
    (tmp_path / "a-b_1").unlink()
    form = '<html><form id="download-form" action="https://evil.example/"><input type="hidden" name="id" value="a-b_1">'
    form += '<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="7"></form>'
    host.files["/download"] = form.encode()
    assert "lead to no file" in refusal(file, tmp_path)
    assert host.requests[-1] == ("/download?id=a-b_1&confirm=t&uuid=7", None) and len(host.requests) == 4
    host.answers = {"/download": (403, {})}
    host.files["/download"] = b"<html>Too many users have viewed or downloaded this file recently."
    assert "quota for this file is used up" in refusal(file, tmp_path)


def test_no_network_and_proxies(host, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(UnreachableError):
        download.fetch(File(f"{address}/x.pth", "torch"), tmp_path)
    text = refusal(File(f"{address}/x.pth", "torch"), tmp_path)
    assert "127.0.0.1 cannot be reached (" in text
    assert text.endswith(f"; download it by other means and put it at {tmp_path / 'x.pth'}")
    assert "cannot be reached" in refusal(File("https://host.invalid/x.pth", "torch"), tmp_path)
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("no_proxy", "")
    assert "the proxy does not answer; check HTTPS_PROXY" in refusal(File("http://example.org/x", "torch"), tmp_path)
    monkeypatch.setenv("http_proxy", host.url(""))
    host.files["http://example.org/x.pth"] = DATA
    assert download.fetch(File("http://example.org/x.pth", "torch"), tmp_path).read_bytes() == DATA
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "by_hand.pth").write_bytes(DATA)  # what the message asked for
    assert download.fetch(File("https://host.invalid/by_hand.pth", "torch", {"sha256": SHA256}), tmp_path).exists()


def test_a_slow_server_shows_progress_and_a_silent_one_ends(host, tmp_path, monkeypatch):
    host.pause = 0.02
    times = []
    download.fetch(file_at(host), tmp_path, lambda *_: times.append(time.monotonic()))
    assert times[-1] - times[0] > 0.1 and len(times) > 5
    monkeypatch.setattr(transfer, "READ_SECONDS", 0.1)
    host.pause, host.ranged = 0.3, False
    host.files["/slow"] = DATA
    text = refusal(file_at(host, "/slow"), tmp_path)
    assert "broke off (" in text and "timed out" in text.lower()


def test_a_server_that_sends_without_end(host, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "LARGEST", 50_000)
    assert "100,000 bytes, which no checkpoint here has" in refusal(file_at(host), tmp_path)
    usage = transfer.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(transfer, "LARGEST", 500_000)
    assert f"it has 100,000 bytes, but {tmp_path} has only 10 bytes left" in refusal(file_at(host), tmp_path)


PROCESS = """
import sys
from pathlib import Path
from cifarzoo.conversion import download
from cifarzoo.conversion.entries import File
print(download.fetch(File(sys.argv[1], "torch", {"sha256": sys.argv[2]}), Path(sys.argv[3])).stat().st_size)
"""


def test_two_processes_download_once(host, tmp_path):
    host.pause = 0.05
    command = [sys.executable, "-c", PROCESS, host.url(), SHA256, str(tmp_path)]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for _ in range(2)]
        assert [process.communicate(timeout=60)[0].strip() for process in started] == [b"100000"] * 2
    assert len(host.requests) == 1 and names(tmp_path) == ["x.pth"]


# ------------------------------------------------------------------------------------------------- zips


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


SHA1 = hashlib.sha1(DATA).hexdigest()


def zip_file(host, **values):
    return File(host.url("/x.npz.zip"), "npz", {"sha1_of_member": SHA1}, member="x.npz", **values)


def test_the_member_of_a_zip_is_unpacked_and_checked(host, tmp_path):
    host.files["/x.npz.zip"] = zipped({"x.npz": DATA})
    path = download.fetch(zip_file(host), tmp_path)
    assert path == tmp_path / "x.npz" and path.read_bytes() == DATA and names(tmp_path) == ["x.npz"]
    assert download.fetch(zip_file(host), tmp_path) == path and len(host.requests) == 1
    download.check(path, zip_file(host, size=1))  # the size is the zip's
    path.write_bytes(DATA[:-1])
    assert "SHA-1" in refusal(zip_file(host), tmp_path)
    path.unlink()
    by_hand = tmp_path / "x.npz.zip"
    by_hand.write_bytes(host.files["/x.npz.zip"])
    download.check(by_hand, zip_file(host))
    assert download.fetch(zip_file(host), tmp_path).read_bytes() == DATA
    assert by_hand.exists() and len(host.requests) == 1
    path.unlink()
    by_hand.write_bytes(DATA)  # the browser has unpacked it
    assert download.fetch(zip_file(host), tmp_path).read_bytes() == DATA


def claiming(size):
    """Return a zip whose member claims a size."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npz", DATA)
        archive.getinfo("x.npz").file_size = size
    return file.getvalue()


ZIPS = {
    "other": (zipped({"y.npz": DATA}), "not the published file: SHA-1"),
    "changed": (
        zipped({"x.npz": DATA[::-1]}),
        f"not the published file: SHA-1 {hashlib.sha1(DATA[::-1]).hexdigest()[:16]}",
    ),
    "two": (zipped({"x.npz": DATA, "a/x.npz": DATA}), "a damaged zip ("),
    "bomb": (claiming(2**40), "claims 1,099,511,627,776 bytes"),
    "short": (zipped({"x.npz": DATA})[:-9], "not the published file: SHA-1"),
    "flipped": (
        zipped({"x.npz": DATA}, zipfile.ZIP_STORED).replace(DATA[:9], DATA[1:10]),
        "a damaged zip (BadZipFile: Bad CRC",
    ),
    "text": (b"hello", "not the published file: SHA-1"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_wrong_zips_are_refused(host, tmp_path, name):
    host.files["/x.npz.zip"], expected = ZIPS[name]
    assert expected in refusal(zip_file(host), tmp_path)
    assert names(tmp_path) == []


def test_a_member_does_not_lead_out_of_the_folder(host, tmp_path):
    host.files["/x.npz.zip"] = zipped({"../../x.npz": DATA, "../evil": b"x"})
    assert download.fetch(zip_file(host), tmp_path / "a" / "b") == tmp_path / "a" / "b" / "x.npz"
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["b"]


def test_names_are_unique_within_a_source():
    urls = {}
    for entry in entries().values():
        for file in [file for alternative in entry.files for file in alternative]:
            name = download.file_name(file)
            assert urls.setdefault((entry.source, name), file.url) == file.url
    path = "https://huggingface.co/edadaltocg/resnet18_cifar10/resolve/main/pytorch_model.bin?download=true"
    assert download.file_name(File(path, "torch")) == "resnet18_cifar10-pytorch_model.bin"
    for odd in ("https://example.org/..%2f..%2fetc/", "https://example.org", "https://example.org/.ssh"):
        assert download.file_name(File(odd, "torch")).strip(".-_").isalnum()


def test_published_weights_of_our_own(host, tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARZOO_CACHE", str(tmp_path))
    entry = replace(manifest()[0], tag="none", url=host.url(), sha256=SHA256, bytes=len(DATA))
    assert weight_file(entry) == tmp_path / "x.pth"
    assert weight_file(entry).read_bytes() == DATA and len(host.requests) == 1
    with pytest.raises(WeightsError, match=f"^{entry.tag}: {host.url('/none')}: HTTP 404"):
        weight_file(replace(entry, url=host.url("/none")))


def test_a_folder_that_cannot_be_written(host, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be written" in refusal(file_at(host), tmp_path / "file")
