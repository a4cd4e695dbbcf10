"""What is said before training about its cost."""

import pytest

from cifarzoo.training.estimate import multiplies_bfloat16, training_operations


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
    assert multiplies_bfloat16(cpuinfo) is expected


def test_training_operations():
    """Two operations a multiply-accumulate, one pass forward and two backward: 246 MFLOP an image for ResNet-20."""
    assert training_operations(41_000_000, 10) == 10 * 246_000_000
    assert training_operations(41_000_000, 10, sam=True) == 10 * 492_000_000
