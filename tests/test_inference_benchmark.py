"""The table of inference speeds on the page is the one of the file of results."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_page_shows_the_measured_results():
    spec = importlib.util.spec_from_file_location("inference", ROOT / "benchmarks" / "inference.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    results = json.loads(benchmark.RESULTS.read_text(encoding="utf-8"))
    shown = benchmark.PAGE.read_text(encoding="utf-8")
    assert benchmark.table(results) in shown.partition(benchmark.MARKS[0])[2].partition(benchmark.MARKS[1])[0]
    assert {row["contestant"] for row in results["rows"]} <= set(benchmark.CONTESTANTS)
