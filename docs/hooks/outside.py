"""Make links work in the repository and on the site: documents link files of the repository by relative paths.

A link to a file that is a page of the site leads to the page, and any other file of the repository is copied to
`files/`. So a page needs no second form for the site, and the site no address of a repository.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Documents outside docs/ that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "RESULTS.md": "results.md",
    "benchmarks/robustness/README.md": "benchmarks/robustness.md",
    "benchmarks/conversion/README.md": "benchmarks/conversion.md",
}
# Folders that are linked, and the page that lists what they contain.
FOLDERS = {"recipes": "recipes/index.md", "weights": "weights.md"}
_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^]\[]*)\]\(([^)\s]+)\)")


def origin(uri: str) -> str:
    """Return the path in the repository of what the page `uri` of the site is made from."""
    for source, page in PAGES.items():
        if page == uri and page != "index.md":
            return source
    return uri if uri.startswith(("weights/", "recipes/")) else f"docs/{uri}"


def page_of(path: str) -> str | None:
    """Return the page of the site for a path in the repository; None if there is none."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    folder, name = posixpath.split(path)
    if folder == "weights" and name.endswith(".md"):
        return path
    if folder == "recipes" and name.endswith(".yaml"):
        return f"recipes/{name.removesuffix('.yaml')}.md"
    return PAGES.get(path) or FOLDERS.get(path.rstrip("/"))


def with_links(text: str, source: str, uri: str, copied: Callable[[str], str]) -> str:
    """Return a document with links that work on the site.

    Args:
        text: The document.
        source: Its path in the repository, which its links are relative to.
        uri: The page of the site that it becomes.
        copied: Called with the path of a file in the repository that is no page; returns where the site has it.
    """

    def link(match):
        address, hash_sign, anchor = match[2].partition("#")
        if not address or re.match(r"[a-z]+:", address):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
        target = page_of(path)
        if target is None and (ROOT / path).is_dir():
            return match[1]  # a site does not list folders
        if target is None and (ROOT / path).is_file():
            target = copied(path)
        if target is None:
            return match[0]  # MkDocs warns, and a warning fails the strict build
        address = posixpath.relpath(target, posixpath.dirname(uri) or ".")
        return f"[{match[1]}]({address}{hash_sign}{anchor})"

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, text[end:])])
