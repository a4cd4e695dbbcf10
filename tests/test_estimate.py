"""What is said before training about its cost."""

from cifarzoo.training.estimate import step_seconds
from cifarzoo.training.experiment import Experiment


def test_training_operations():
    """Two operations a multiply-accumulate, one pass forward and two backward: 246 MFLOP an image for ResNet-20."""
    assert Experiment(model="cifar_resnet20").operations(41_000_000, 10) == 10 * 246_000_000
    sam = Experiment(model="cifar_resnet20", train_parameters={"sam_rho": 0.05})
    assert sam.operations(41_000_000, 10) == 10 * 492_000_000


def test_a_probe_trains_the_experiments_own_network(tmp_path):
    """A schedule and an average that need thousands of steps, and 100 classes without their data; a larger batch takes
    longer."""
    parameters = {
        "logdir": str(tmp_path),
        "lookahead": {},
        "schedule": {"kind": "cosine", "peak": 0.1, "warmup": 2000, "duration": {"epochs": 10}},
    }
    small, large = (
        step_seconds(
            Experiment(
                model="tiny_cnn",
                module="tiny_models",
                dataset="cifar100",
                train_parameters=parameters | {"batch_size": size},
            )
        )
        for size in (8, 1024)
    )
    assert 0 < small < large
    assert not list(tmp_path.iterdir())
