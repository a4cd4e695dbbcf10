"""The atlas: docs/atlas.md is up to date, and the HTML page works offline."""

import html
import json
import re
import shutil
import subprocess

import pytest
from model_cases import ROOT

from cifarzoo.cli import application
from cifarzoo.conversion.entries import entries
from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.evaluation import atlas
from cifarzoo.pretrained.manifest import manifest
from cifarzoo.publishing.weights_folder import WeightsFolder

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


def test_markdown_page_is_up_to_date():
    page = (ROOT / "docs" / "atlas.md").read_text(encoding="utf-8")
    assert page == atlas.markdown_page(atlas.rows()), "run: python -m cifarzoo.evaluation.atlas"
    names = re.findall(r"^\| \[?([\w./\-]+)", page, re.MULTILINE)
    assert [name for name in names if name not in ("file", "---")] == [
        *(entry.tag for entry in manifest()),
        *entries(),
    ]


def test_row_of_another_projects_file():
    (row,) = [row for row in atlas.rows([]) if row["name"] == "osmr/wrn28_10_cifar100"]
    assert (row["parameters"], row["reported"], row["selection"]) == (36_554_836, 17.88, "probably best on test")
    assert [file["hash"].split()[0] for file in row["files"]] == ["sha1_of_member"] * 2


def test_publishing_updates_the_page(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "docs").mkdir()
    for name in ("weights/manifest.json", "weights/anchors.yaml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    page = tmp_path / "docs" / "atlas.md"
    page.write_text("old", encoding="utf-8")
    WeightsFolder(tmp_path / "weights").write_pages()
    assert page.read_text(encoding="utf-8") == atlas.markdown_page(atlas.rows())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pytest.importorskip("plotly")
    path = tmp_path_factory.mktemp("atlas") / "folder" / "atlas.html"
    atlas.write_html(path)
    return path


def test_page_needs_no_other_file(page):
    text = page.read_text(encoding="utf-8")
    head = text[: text.index("<script")]
    assert "default-src 'none'" in html.unescape(head)
    assert not re.findall(r"<(?:link|img|iframe|script[^>]* src)", head + text[text.rindex("<script>") :])
    data = json.loads(re.search(r'<script type="application/json" id="rows">(.*?)</script>', text, re.DOTALL)[1])
    assert data == json.loads(json.dumps(atlas.rows()))


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_page_filters_and_sorts_by_its_address(page, tmp_path):
    def dump(address):
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path}",
        ]
        command += ["--virtual-time-budget=3000", "--dump-dom", f"{page.as_uri()}#{address}"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        body = shown[shown.index('<tbody id="body">') :].partition("</tbody>")[0]
        names = [re.sub("<.*?>", "", cell) for cell in re.findall(r'<td class="name ">(.*?)</td>', body)]
        return names, shown

    names, shown = dump("text=sjmikler+vgg&sort=-reported")
    assert names == [f"sjmikler/cifar_vgg{depth}" for depth in (11, 19, 16, 13)]
    assert f"4 of {len(atlas.rows())} files" in shown
    assert len(re.findall('class="point[ "]', shown)) == 8  # four in each plot
    names, shown = dump("dataset=cifar100&source=hendrycks&open=hendrycks/cifar100_wrn_oe_scratch")
    assert len(names) == 3 and 'cifarzoo.load("hendrycks/cifar100_wrn_oe_scratch")' in shown


def test_command_and_errors(tmp_path, monkeypatch, capsys):
    pytest.importorskip("plotly")
    application.command()(["atlas", str(tmp_path / "out.html")], standalone_mode=False)
    assert capsys.readouterr().out == f"{tmp_path / 'out.html'}\n" and (tmp_path / "out.html").stat().st_size > 10**6
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        atlas.write_html(tmp_path / "file" / "out.html")
    monkeypatch.setitem(__import__("sys").modules, "plotly", None)
    with pytest.raises(CifarzooError, match='atlas pages need plotly: pip install .*"plotly>=6"'):
        atlas.write_html(tmp_path / "out.html")
