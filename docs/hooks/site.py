"""The hooks of mkdocs.yml: pages that are generated when the site is built, and links that leave docs/."""

import itertools
from collections.abc import Iterator

import families
import gallery_page
import keys
import recipe_pages
import reference
import weight_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from outside import PAGES, ROOT, origin, with_links

# Pages without a table of contents, or without navigation, whose tables need the room.
HIDDEN = {"index.md": ["navigation", "toc"], "weights.md": ["toc"], "results.md": ["toc"]}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace `FOLDER/*` in the navigation by the generated pages of the folder."""
    generated = [uri for uri, _ in _pages()]
    for section in config.nav or []:
        for title, entries in section.items():
            if isinstance(entries, list):
                section[title] = [page for entry in entries for page in _expanded(entry, generated)]
    return config


def _expanded(entry, generated):
    """Return the pages that an entry of the navigation stands for."""
    (title, inner) = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
    if isinstance(inner, list):
        return [{title: [page for one in inner for page in _expanded(one, generated)]}]
    if isinstance(inner, str) and inner.endswith("/*"):
        folder = inner.removesuffix("*")
        return [uri for uri in generated if uri.startswith(folder) and not uri.endswith("/index.md")]
    return [entry]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated."""
    for uri, text in _pages():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to the repository at the site."""

    def copied(path):
        uri = f"files/{path}"
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
        return uri

    uri = page.file.src_uri
    page.meta.setdefault("hide", HIDDEN.get(uri, []))
    markdown = markdown.replace("<!-- weights -->", weight_pages.table())
    return with_links(markdown, origin(uri), uri, copied)


def _pages() -> Iterator[tuple[str, str]]:
    """Yield address and text of every generated page."""
    for source, uri in PAGES.items():
        if source != "README.md":
            yield uri, (ROOT / source).read_text(encoding="utf-8")
    yield "keys.md", keys.page()
    yield "api.md", reference.page()
    yield "gallery.md", gallery_page.page()
    yield from itertools.chain(families.pages(), weight_pages.pages(), recipe_pages.pages())
