"""The documentation site: it builds without a warning, every link of it leads somewhere, and it fetches nothing."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from model_cases import ROOT

from cifarzoo.models.catalogue import catalogue
from cifarzoo.pretrained.manifest import manifest

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes.get("id"), attributes.get("name")}
        if tag in ("a", "area"):
            self.links.append(attributes.get("href") or "")
        elif tag in ("script", "img", "link", "iframe", "source", "video") and attributes.get("rel") != "canonical":
            self.loads += [value for key, value in attributes.items() if key in ("src", "href", "srcset")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Every page of the site by its path."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def _target(page, address):
    path, anchor = urldefrag(address)
    return Path(os.path.normpath(page.parent / unquote(path))) if path else page, unquote(anchor)


def test_every_link_leads_somewhere(pages):
    dead = []
    for page, content in pages.items():
        if page.name == "404.html":
            continue  # served at any address, so its links begin with the site's root
        for address in content.links + content.loads:
            if re.match(r"(https?|mailto|data|javascript):", address):
                continue
            target, anchor = _target(page, address)
            if target in pages:
                if anchor and anchor not in pages[target].anchors:
                    dead.append(f"{page}: {address}")
            elif not target.exists():
                dead.append(f"{page}: {address}")
    assert len(pages) > 50 and not dead, dead[:20]


def test_nothing_is_fetched(site, pages):
    external = {address for page in pages.values() for address in page.loads if re.match(r"(https?:)?//", address)}
    assert not external
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//", styles)


def test_everything_public_is_in_the_reference(site):
    stub = ast.parse((ROOT / "cifarzoo" / "__init__.pyi").read_text(encoding="utf-8"))
    public = next(ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign))
    described = set()
    for path in [site / "api.html", *(site / "models").glob("*.html")]:
        described |= set(re.findall(r'id="cifarzoo\.(\w+)"', path.read_text(encoding="utf-8")))
    assert described == set(public)


def test_every_family_tag_and_recipe_has_a_page(site):
    assert {path.stem for path in (site / "models").glob("*.html")} == {one.family for one in catalogue().values()}
    assert {path.stem for path in (site / "weights").glob("*.html")} == {entry.tag for entry in manifest()}
    recipes = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    assert {path.stem for path in (site / "recipes").glob("*.html")} == recipes | {"index"}


def test_the_reference_of_keys_has_every_key(site):
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.experiment.train_parameters import TrainParameters

    text = (site / "keys.html").read_text(encoding="utf-8")
    keys = set(re.findall(r"<td><code>(\w+)</code></td>", text))
    assert (set(Experiment.model_fields) | set(TrainParameters.model_fields)) - {"in_memory"} <= keys


def test_the_search_index_has_every_part(site):
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    for word in ("cifar_shake_shake26_2x96d", "early_stopping", "resnet20_v1_cifar10_200ep_s0", "temperature"):
        assert word in index
