"""Download a file over HTTP into a partial file, and continue it after an interruption.

Beside the partial file NAME, NAME.json says what it is a part of: the address, and the ETag or the time of modification
that the server gave. A download continues only if the server says that both are still the same.
"""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from cifarzoo._version import __version__
from cifarzoo.errors import UnreachableError, WeightsError, one_line, printable
from cifarzoo.transfer import Progress, web_pages

CONNECT_SECONDS, READ_SECONDS = 10, 60
CHUNK = 2**13  # small, as a slow server's bytes are only seen, and kept, by whole chunks
LARGEST = 2**33
PAUSES = (1.0, 2.0, 4.0)  # seconds before the next attempt, while attempts bring nothing
MOST_ATTEMPTS = 100
MOST_PAGES = 3
BUSY = (408, 429, 500, 502, 503, 504)


class _Interrupted(Exception):
    """The transfer may succeed if it is tried again."""


def transfer(url: str, part: Path, size: int | None, progress: Progress | None) -> bool:
    """Download a file until it is complete.

    After an interruption it resumes, as long as bytes arrive; what has arrived stays in `part` if it fails in the end.

    Args:
        url: The address.
        part: The partial file, which may be there already.
        size: Length of the whole file in bytes, if known.
        progress: Called with the bytes that are there, and all that are expected, if known.

    Returns:
        Whether the file was put together of several transfers.

    Raises:
        WeightsError: the server does not have the file, cannot be reached, or sends something else. OSError: the file
            cannot be written.
    """
    resumed, failures = _length(part) > 0, 0
    for number in range(MOST_ATTEMPTS):
        before = _length(part)
        try:
            _attempt(web_pages.direct_address(url), part, size, progress, number)
        except _Interrupted as interruption:
            failures = 0 if _length(part) > before else failures + 1
            if failures > len(PAUSES):
                raise WeightsError(str(interruption)) from None
            resumed = resumed or _length(part) > 0
            time.sleep(PAUSES[max(failures - 1, 0)])
        else:
            return resumed
    raise WeightsError(f"was interrupted {MOST_ATTEMPTS} times")


def discard(part: Path) -> None:
    """Delete a partial file and what is known about it."""
    for path in (part, _facts_path(part)):
        path.unlink(missing_ok=True)


def _attempt(url: str, part: Path, size: int | None, progress: Progress | None, number: int) -> None:
    """Download what is missing; `number` counts the attempts before this one.

    Raises:
        _Interrupted: another attempt may succeed. WeightsError: none would help.
    """
    for _ in range(MOST_PAGES):
        address = _download(url, part, size, progress, number)
        if address is None:
            return
        url = address
    raise WeightsError("Google Drive's web pages lead to no file")


def _download(url: str, part: Path, size: int | None, progress: Progress | None, number: int) -> str | None:
    """Download what is missing, or return the address behind the button of Google Drive's web page."""
    start, validator = _resumable(url, part)
    headers = {"User-Agent": f"cifarzoo/{__version__}", "Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    with _readable_errors(url, has_begun=number > 0):
        response = requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    with response:
        if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{start}":
            return None  # it is complete
        if response.status_code == 206 and _continues(response, start, validator):
            pass
        elif response.status_code in (206, 416):
            discard(part)
            raise _Interrupted("the server changed the file while it was downloaded")
        elif response.ok:
            start = 0
        chunks = response.iter_content(CHUNK)
        with _readable_errors(url, has_begun=True):
            first = next(chunks, b"")
            if start == 0 and web_pages.is_page(first, response.headers.get("Content-Type", "")):
                address = _follow_page(response, first, chunks)
                if address:
                    return address
        if not response.ok:
            raise _refusal(response)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":  # its length and its parts are those of another file
            raise WeightsError(f"the server sends the file compressed ({printable(encoding)}), which was not asked for")
        total = _total(response, start)
        _check_length(total, size, start, part)
        _write_facts(part, url, response)
        part.touch()
        with open(part, "r+b") as file:
            file.truncate(start)
            file.seek(start)
            arrived = start
            while first:
                file.write(first)
                arrived += len(first)
                if arrived > (LARGEST if total is None else total):
                    raise WeightsError(f"the server sends more than {arrived - 1:,} bytes")
                if progress:
                    progress(arrived, total)
                with _readable_errors(url, has_begun=True):
                    first = next(chunks, b"")
            file.flush()
            os.fsync(file.fileno())
    if total is not None and arrived < total:
        raise _Interrupted(f"the connection ended after {arrived:,} of {total:,} bytes")
    if size is not None and arrived != size:
        raise WeightsError(f"the server's file has {arrived:,} bytes instead of {size:,}")
    if not arrived:
        raise WeightsError("the server sends an empty file")
    return None


def _follow_page(response: requests.Response, first: bytes, rest: Iterator[bytes]) -> str | None:
    """Return where the form on Google Drive's web page leads, None if the page says no more than the status.

    Raises:
        WeightsError: the page came instead of the file.
    """
    page = first
    for chunk in rest:
        page += chunk
        if len(page) > web_pages.LONGEST_PAGE:
            break
    text = page.decode("utf-8", "replace")
    address = web_pages.confirmed_address(text)
    if web_pages.says_quota(text) or (response.ok and address is None):
        raise WeightsError(web_pages.what_it_says(text))
    return address


def _refusal(response: requests.Response) -> Exception:
    text = f"HTTP {response.status_code} {response.reason}"
    if response.status_code in BUSY:
        return _Interrupted(f"{text}: the server is busy; try again later")
    return WeightsError(f"{text}: the server does not give the file, or no longer")


def _total(response: requests.Response, start: int) -> int | None:
    """Return the length of the whole file according to an answer that begins at `start`, if it says so."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if re.fullmatch("[0-9]{1,18}", length) else None


def _check_length(total: int | None, size: int | None, start: int, part: Path) -> None:
    if total is None:
        return
    if size is not None and total != size:
        raise WeightsError(f"the server's file has {total:,} bytes instead of {size:,}")
    if total > LARGEST:
        raise WeightsError(f"the server's file has {total:,} bytes, which no checkpoint here has")
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        raise WeightsError(f"it has {total:,} bytes, but {part.parent} has only {free:,} bytes left")


def _continues(response: requests.Response, start: int, validator: str | None) -> bool:
    """Whether an answer of status 206 is the rest of the same file."""
    if not re.match(rf"bytes {start}-[0-9]", response.headers.get("Content-Range", "")):
        return False
    return validator is not None and _validator(response) in (validator, None)


def _validator(response: requests.Response) -> str | None:
    """Return what identifies this version of the file, so that a server can be asked for the rest of no other one."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _length(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _facts_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_facts(part: Path, url: str, response: requests.Response) -> None:
    facts = {"url": url, "validator": _validator(response)}
    _facts_path(part).write_text(json.dumps(facts), encoding="utf-8")


def _resumable(url: str, part: Path) -> tuple[int, str | None]:
    """Return how many bytes of a file are there, and what identifies it; (0, None) if it has to begin again."""
    facts: Any = None
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads(_facts_path(part).read_text(encoding="utf-8"))
    length = _length(part)
    if not length or not isinstance(facts, dict) or facts.get("url") != url:
        return 0, None
    validator = facts.get("validator")
    return (length, validator) if isinstance(validator, str) and validator.isprintable() else (0, None)


@contextlib.contextmanager
def _readable_errors(url: str, has_begun: bool) -> Iterator[None]:
    """Turn the exceptions of `requests` into interruptions, or into errors where another attempt would not help.

    Args:
        url: The address, whose host the message names.
        has_begun: Whether anything has arrived, so that the network works.
    """
    host = urlsplit(url).hostname
    try:
        yield
    except requests.exceptions.ProxyError as failure:
        raise UnreachableError(f"the proxy does not answer; check HTTPS_PROXY ({_reason(failure)})") from None
    except requests.exceptions.SSLError as failure:
        text = "its certificate is not trusted; if a proxy replaces certificates, set REQUESTS_CA_BUNDLE"
        raise WeightsError(f"{text} ({_reason(failure)})") from None
    except requests.exceptions.TooManyRedirects:
        raise WeightsError("the server redirects in a circle") from None
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as failure:
        if has_begun:
            raise _Interrupted(f"the connection to {host} broke off ({_reason(failure)})") from None
        raise UnreachableError(f"{host} cannot be reached ({_reason(failure)})") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as failure:
        raise WeightsError(f"the server's answer cannot be used ({_reason(failure)})") from None


def _reason(failure: Exception) -> str:
    """Return the innermost reason, which says most."""
    reason: Any = failure
    for _ in range(5):
        inner = getattr(reason, "reason", None) or next((a for a in reason.args if isinstance(a, Exception)), None)
        if not isinstance(inner, Exception):
            break
        reason = inner
    text = str(reason).split(">: ")[-1].split("): ")[-1]
    return one_line(f"{type(reason).__name__}: {text}")[:200]
