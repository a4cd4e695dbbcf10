"""What is said before training about its cost."""

from cifarzoo.training.estimate import training_operations


def test_training_operations():
    """Two operations a multiply-accumulate, one pass forward and two backward: 246 MFLOP an image for ResNet-20."""
    assert training_operations(41_000_000, 10) == 10 * 246_000_000
    assert training_operations(41_000_000, 10, sam=True) == 10 * 492_000_000
