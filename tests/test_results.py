"""RESULTS.md against numbers worked out by hand, and the anchors it quotes."""

from pathlib import Path

import pytest
import yaml

from cifarzoo.models.catalogue import catalogue, find
from cifarzoo.pretrained.manifest import Published
from cifarzoo.publishing.cards import duration
from cifarzoo.publishing.pages import results_page
from cifarzoo.publishing.wanted import read_rows

ROOT = Path(__file__).parent.parent
ANCHORS = yaml.safe_load((ROOT / "weights" / "anchors.yaml").read_text())


def entry(seed, error, seconds, recipe="long", remark=""):
    return Published(
        tag=f"mine_{recipe}_s{seed}",
        model="cifar_resnet20",
        architecture={"block_type": "original", "shortcut_type": "A"},
        classes=10,
        dataset="cifar10",
        default=seed == 0,
        sha256="",
        bytes=718_624,
        parameters=271_098,
        macs=40_551_040,
        preprocessing={},
        metrics={"error": error},
        training={"recipe": recipe, "seconds": seconds, "device": "a device"},
        remark=remark,
    )


def test_three_seeds_are_one_row_with_mean_and_standard_deviation(tmp_path):
    (tmp_path / "anchors.yaml").write_text(
        "protocols: {elsewhere: best epoch}\n"
        "rows:\n"
        "  - {model: cifar_resnet20, architecture: {block_type: preactivated}, dataset: cifar10, paper: '1'}\n"
        "  - {model: cifar_resnet20, dataset: cifar10, paper: '8.75', source: '8.39', zoo: '5.97', by: elsewhere}\n"
    )
    entries = [entry(0, 8.0, 600), entry(1, 8.2, 1200), entry(2, 8.7, 1800), entry(0, 9.0, 90, "brief", "Short.")]
    page = results_page(entries, tmp_path / "anchors.yaml")
    long, brief = (line for line in page.splitlines() if line.startswith("| `cifar_resnet20("))
    # Deviations from 8.3: -0.3, -0.1, 0.4; their squares' sum over n - 1 is 0.13, its root 0.36.
    cells = [cell.strip() for cell in long.strip("|").split("|")]
    assert cells[1:] == [
        "cifar10", "long", "8.30 ± 0.36", "3", "8.75", "8.39", "5.97 (elsewhere)", "271,098", "40.6",
        "20 min, a device", "0.7",
    ]  # fmt: skip
    assert "| 9.00 | 1 |" in brief and "| 90 s, a device |" in brief
    assert "* elsewhere: best epoch" in page and page.endswith("* mine_brief_s0: Short.\n")


@pytest.mark.parametrize("seconds, text", [(7.4, "7 s"), (599, "599 s"), (600, "10 min"), (5400, "90 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_anchors_are_about_models_there_are():
    for row in ANCHORS["rows"]:
        record = find(row["model"])
        assert set(row.get("architecture", {})) <= set(record.arguments), row
        assert row["dataset"] in ("cifar10", "cifar100")
        assert ("zoo" in row) == ("by" in row) and row.get("by") in (None, *ANCHORS["protocols"]), row
    assert {row["by"] for row in ANCHORS["rows"] if "by" in row} == set(ANCHORS["protocols"])


def test_every_wanted_model_can_be_compared():
    wanted = {(row.experiment.model, row.experiment.dataset) for row in read_rows(ROOT / "recipes/zoo.yaml", "runs")}
    assert wanted <= {(row["model"], row["dataset"]) for row in ANCHORS["rows"]}
    assert {model for model, _ in wanted} <= set(catalogue())
