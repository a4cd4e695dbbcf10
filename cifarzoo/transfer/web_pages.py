"""Recognize web pages that arrive instead of files, and Google Drive's in particular."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urlsplit

from cifarzoo.errors import printable

DRIVE = "https://drive.usercontent.google.com/download"
DRIVE_HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
LONGEST_PAGE = 2**18


def drive_id(url: str) -> str | None:
    """Return the id of a file on Google Drive, None for other addresses."""
    parts = urlsplit(url)
    if parts.hostname not in DRIVE_HOSTS:
        return None
    if match := re.search("/file/d/([^/]+)", parts.path):
        return match[1]
    return parse_qs(parts.query).get("id", [None])[0]


def direct_address(url: str) -> str:
    """Return the address that answers with the file itself, also where Drive would ask for a confirmation."""
    identity = drive_id(url)
    return f"{DRIVE}?{urlencode({'id': identity, 'export': 'download', 'confirm': 't'})}" if identity else url


def is_page(start: bytes, content_type: str) -> bool:
    """Whether an answer that begins like this is a web page; some servers call every file one."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith((b"<!doctype html", b"<html")) or ("html" in content_type.lower() and text.startswith(b"<"))


def what_it_says(page: str) -> str:
    """Say in a few words why a page came instead of the file."""
    if says_quota(page):
        return "Google Drive's quota for this file is used up; try again in a day"
    if re.search("ServiceLogin|accounts.google.com/[^\"']*signin", page):
        return "the host asks to sign in: the file is not public any more"
    title = re.search("<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    name = printable(" ".join(title[1].split()))[:100] if title else ""
    return f"a web page{f' ({name})' if name else ''} came instead of the file, which has moved or needs a browser"


def says_quota(page: str) -> bool:
    """Whether a page is Drive's about too many downloads."""
    return bool(re.search("quota exceeded|too many users have viewed or downloaded", page, re.IGNORECASE))


def confirmed_address(page: str) -> str | None:
    """Return the address behind the button of Drive's page about files that are too large to be scanned for viruses."""
    form = _Form()
    form.feed(page)
    return f"{DRIVE}?{urlencode(form.fields)}" if "id" in form.fields and "confirm" in form.fields else None


class _Form(HTMLParser):
    """Collects the hidden fields of the form `download-form`."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self._inside = values.get("id") == "download-form"
        elif tag == "input" and self._inside and values.get("type") == "hidden":
            self.fields[values.get("name") or ""] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "form"
