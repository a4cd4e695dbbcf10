"""The Python snippets of docs/foreign_weights.md run as they stand, on files that another function converts."""

import re

import numpy as np
import pytest
from model_cases import ROOT

import cifarzoo
from cifarzoo.conversion import cache
from cifarzoo.conversion.entries import entries
from cifarzoo.conversion.layouts import LAYOUTS
from cifarzoo.data.statistics import STATISTICS
from cifarzoo.models.registry import build_described
from cifarzoo.pretrained.description import save_weights

PAGE = (ROOT / "docs" / "foreign_weights.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
IMAGES = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """Let every entry have random weights; return its files by name."""
    files = {}

    def weight_file(entry, build, file=None, progress=None):
        model = build_described(cache.describe(entry))
        files[entry.name] = tmp_path / f"{entry.name.replace('/', '_')}.weights.h5"
        save_weights(model, files[entry.name])
        return files[entry.name]

    monkeypatch.setattr(cache, "weight_file", weight_file)
    monkeypatch.chdir(tmp_path)
    return files


def same_weights(one, other):
    """Whether two models have equal weights."""
    return all(map(np.array_equal, one.get_weights(), other.get_weights()))


def test_first_snippet_loads_by_name(converted):
    namespace = {"images": IMAGES}
    exec(compile(SNIPPETS[0], "foreign_weights.md", "exec"), namespace)
    (file,) = converted.values()
    assert namespace["logits"].shape == (8, 10)
    assert same_weights(namespace["model"], cifarzoo.load(file))


def test_second_snippet_fine_tunes_an_imported_backbone(converted):
    before, _, after = SNIPPETS[1].partition("model.compile(")
    namespace = {"images": IMAGES, "labels": np.arange(8) * 5 % 37}
    exec(compile(before, "foreign_weights.md", "exec"), namespace)
    (file,) = converted.values()
    model, source = namespace["model"], cifarzoo.load(file)
    assert model.output_shape == (None, 37)
    for name in ("stem_conv", "stage3_block3_conv2"):
        assert np.array_equal(model.get_layer(name).kernel, source.get_layer(name).kernel)
    exec(compile(f"model.compile({after}", "foreign_weights.md", "exec"), namespace)
    assert not np.array_equal(model.get_layer("stem_conv").kernel, source.get_layer("stem_conv").kernel)
    losses = model.history.history["loss"]
    assert losses[-1] < losses[0]
    assert same_weights(model, cifarzoo.load("birds.weights.h5"))


def test_table_of_statistics():
    rows = re.findall(r"^\| `(\w+)` \| ([\d., ]+) \| ([\d., ]+) \| (.*) \|$", PAGE, re.MULTILINE)
    for name, *numbers, sources in rows:
        scale = 1 if name == "hendrycks" else 255
        for text, known in zip(numbers, STATISTICS[name], strict=True):
            assert np.allclose([scale * float(number) for number in text.split(", ")], known)
        users = {entry.source for entry in entries().values() if entry.statistics == name}
        assert users == set(re.findall(r"\w+", sources)) & {entry.source for entry in entries().values()} - (
            {"hendrycks"} if name == "half" else set()
        )
    assert len(rows) == 7
    unnamed = [entry.source for entry in entries().values() if isinstance(entry.statistics, dict)]
    assert set(unnamed) == {"robustbench"} and f"Another {len(unnamed)} checkpoints of robustbench have numbers" in PAGE
    assert [entry.source for entry in entries().values() if entry.statistics in ("cifar10", "cifar100")] == [
        "robustbench"
    ]


def test_page_names_what_conversion_leaves_aside():
    unused = {name.rstrip(".") for layout in LAYOUTS.values() for name in layout.unused}
    assert unused and all(f"`{name}`" in PAGE for name in unused | {"num_batches_tracked", "N", "mu", "sigma"})
