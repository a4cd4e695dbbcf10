"""`precision: auto`, and where bfloat16 is slow."""

import pytest

from cifarzoo.training import precision
from cifarzoo.training.experiment import Experiment


@pytest.mark.parametrize(
    "cpuinfo, expected",
    [
        ("model name\t: Intel Xeon\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16\n", True),
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx avx2 fma\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd svebf16 i8mm bf16\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd\n", False),
        ("", True),  # not known
    ],
)
def test_bfloat16_is_asked_for_where_it_is_fast(cpuinfo, expected):
    assert precision.multiplies_bfloat16(cpuinfo) is expected


@pytest.mark.parametrize("slow", [True, False])
def test_auto_is_what_is_fast_here_or_what_a_run_was_begun_with(tmp_path, monkeypatch, slow):
    monkeypatch.setattr(precision, "bfloat16_is_slow", lambda: slow)
    experiment = Experiment(model="m", precision="auto", train_parameters={"logdir": str(tmp_path)})
    fast, other = ("float32", "bfloat16") if slow else ("bfloat16", "float32")
    assert precision.settled(experiment).precision == fast
    begun = tmp_path / "m/seed0"
    begun.mkdir(parents=True)
    (begun / "config.yaml").write_text(f"model: m\nprecision: {other}\n")
    assert precision.settled(experiment).precision == other
    (begun / "config.yaml").write_text("model: m\nprecision: bflo")
    assert precision.settled(experiment).precision == fast
    for given in ("float32", "bfloat16", "float64"):
        assert precision.settled(experiment.model_copy(update={"precision": given})).precision == given


def test_a_slow_wish_is_named(monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_is_slow", lambda: True)
    assert "`precision: auto`" in precision.slow_precision(Experiment(model="m", precision="bfloat16"))
    assert precision.slow_precision(Experiment(model="m", precision="float32")) is None
    monkeypatch.setattr(precision, "bfloat16_is_slow", lambda: False)
    assert precision.slow_precision(Experiment(model="m", precision="bfloat16")) is None
