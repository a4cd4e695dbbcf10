"""The committed pictures and reports of the documentation are what the code draws, of the files that are published."""

import re
import sys
import xml.etree.ElementTree

import numpy as np
import pytest
from model_cases import ROOT
from PIL import Image

from cifarzoo.augment.spec import PIPELINES, SPECS
from cifarzoo.models.catalogue import catalogue
from cifarzoo.pretrained.manifest import manifest

BLOCKS = ROOT / "docs" / "figures" / "blocks"
GALLERY = ROOT / "docs" / "figures" / "gallery"


@pytest.fixture
def draw(monkeypatch):
    """The script that draws the pictures."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "pictures"))
    import draw

    yield draw
    for name in ("draw", "block_diagrams", "block_graphs", "gallery", "predictions"):
        sys.modules.pop(name, None)


def labels(family):
    """The labels of a family's blocks from top to bottom, a list per column, from the left."""
    columns: dict = {}
    for text in (
        xml.etree.ElementTree.parse(BLOCKS / f"{family}.svg").getroot().iter("{http://www.w3.org/2000/svg}text")
    ):
        if text.get("text-anchor"):
            columns.setdefault(float(text.get("x")), []).append(text.text)
    return [columns[x] for x in sorted(columns)]


def test_every_family_has_a_diagram():
    assert {path.stem for path in BLOCKS.glob("*.svg")} == {record.family for record in catalogue().values()}


def test_blocks_are_those_of_the_papers():
    original, shortcut, preactivated = labels("resnet")[:3]
    assert original == ["3×3 conv, 32, stride 2", "BatchNorm", "ReLU", "3×3 conv, 32", "BatchNorm", "+", "ReLU"]
    assert shortcut == ["every 2nd pixel", "append zeros"]
    assert preactivated == ["BatchNorm", "ReLU", "3×3 conv, 32", "BatchNorm", "ReLU", "3×3 conv, 32", "+"]
    assert labels("pyramidnet")[0][:6] == [
        "BatchNorm",
        "3×3 conv, 18",
        "BatchNorm",
        "ReLU",
        "3×3 conv, 18",
        "BatchNorm",
    ]
    assert "ShakeDrop" not in labels("pyramidnet")[0]
    shaken = next(column for column in labels("pyramidnet") if "ShakeDrop" in column)
    assert shaken[shaken.index("ShakeDrop") - 1 :][:3] == ["BatchNorm", "ShakeDrop", "+"]  # Yamada et al., figure 3
    assert "3×3 conv, 512, 8 groups" in labels("resnext")[0]


def test_a_diagram_is_what_the_code_draws(draw):
    assert draw.blocks("resnet8") == (BLOCKS / "resnet8.svg").read_text(encoding="utf-8")


def test_the_gallery_has_every_augmentation():
    drawn = {path.stem for path in GALLERY.glob("*.webp")}
    assert drawn == {"original", *SPECS, *PIPELINES} - {"none"}


def test_cutout_and_flip_show_what_they_do():
    images, flipped, cut = (np.asarray(Image.open(GALLERY / f"{name}.webp")) for name in ("original", "flip", "cutout"))
    first = images[:32, :32, :3]
    rows = [flipped[top : top + 32, :32, :3] for top in (0, 34)]
    assert any((row == first).all() for row in rows) or any((row == first[:, ::-1]).all() for row in rows)
    changed = (cut[:32, :32, :3] != first).any(axis=-1)
    assert 0 < changed.sum() <= 16 * 16


@pytest.mark.parametrize("entry", manifest(), ids=lambda entry: entry.tag)
def test_every_published_file_has_its_report(entry):
    text = (ROOT / "docs" / "reports" / f"{entry.tag}.html").read_text(encoding="utf-8")
    cells = re.findall(r"<b>([^<]+)</b>", text)
    assert entry.tag in text and f"{entry.metrics['error']:.2f} %" in cells and f"{entry.parameters:,}" in cells
    assert "<script" not in text and not re.search(r'(?:src|href)="(?!data:)', text)
