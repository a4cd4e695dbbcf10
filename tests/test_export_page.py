"""The table of docs/export.md says what benchmarks/export/results.json has, neither more nor less."""

import json
import re
import runpy

import pytest
from model_cases import ROOT

from cifarzoo.exporting.formats import FORMATS
from cifarzoo.models.catalogue import catalogue
from cifarzoo.pretrained.manifest import find_entry, manifest

PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "export" / "results.json").read_text(encoding="utf-8"))


def rows():
    """The cells of the table by network and column; the last two columns are those of int8, too."""
    table = PAGE[PAGE.index("<!-- matrix:begin -->") : PAGE.index("<!-- matrix:end -->")]
    header, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return {line[0].strip("`"): dict(zip(header[1:], line[1:], strict=True)) for line in lines}


def test_every_measured_network_and_every_family_has_a_row():
    assert set(RESULTS["networks"]) <= set(rows())
    models = {find_entry(name, manifest()).model if "(" not in name else name.partition("(")[0] for name in rows()}
    assert {catalogue()[model].family for model in models} == {record.family for record in catalogue().values()}


@pytest.mark.parametrize("name", rows())
def test_a_row_says_what_was_measured(name):
    row, records = rows()[name], RESULTS["networks"].get(name, {})
    for to in ("savedmodel", "onnx", "litert", "openvino", "torch"):
        record = records.get(to)
        if record is None or "refused" in record:
            assert row[to] == ("refused" if record else "")
            continue
        share, size = re.fullmatch(r"(\S+), (\S+) MB", row[to]).groups()
        assert float(size) == pytest.approx(record["bytes"] / 1e6, abs=0.051)
        assert float(share) == pytest.approx(record["largest_difference"] / record["largest_output"], rel=0.5)
        assert float(share) <= 1e-4 and record["same_class"] == record["images"]  # as the page promises
    if "bytes" in (int8 := records.get("litert-int8", {})):
        assert float(row["MB"]) == pytest.approx(int8["bytes"] / 1e6, abs=0.0051)
        assert float(row["same class %"]) == pytest.approx(100 * int8["same_class"] / int8["images"], abs=0.051)
        errors = [float(error) for error in row["int8: error %"].split(" → ") if error]
        assert errors == pytest.approx([int8[key] for key in ("error_before", "error") if key in int8], abs=0.0051)
    else:
        assert row["MB"] == row["same class %"] == ""


def test_nothing_of_a_measured_network_is_missing():
    for name, records in RESULTS["networks"].items():
        assert set(records) == set(FORMATS), name
        images = {record["images"] for to, record in records.items() if to != "litert-int8"}
        assert images == {200 if "(" in name else 1000}, name


def test_the_versions_are_those_of_the_results():
    said = ", ".join(f"{package} {version}" for package, version in RESULTS["versions"].items())
    assert f"Measured with {said}." in PAGE


def test_the_benchmark_measures_every_family():
    networks = runpy.run_path(str(ROOT / "benchmarks" / "export" / "matrix.py"))["subjects"]()
    assert {catalogue()[one["model"]].family for one in networks.values()} == {
        record.family for record in catalogue().values()
    }
    assert set(RESULTS["networks"]) <= set(networks)
