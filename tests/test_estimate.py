"""What is said before training about its cost."""

import pytest

from cifarzoo.data.info import info
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training import estimate
from cifarzoo.training.estimate import Pace, measure_pace
from cifarzoo.training.job import prepare


def test_training_operations():
    """Two operations a multiply-accumulate, one pass forward and two backward: 246 MFLOP an image for ResNet-20."""
    assert Experiment(model="cifar_resnet20").operations(41_000_000, 10) == 10 * 246_000_000
    sam = Experiment(model="cifar_resnet20", train_parameters={"sam_rho": 0.05})
    assert sam.operations(41_000_000, 10) == 10 * 492_000_000


@pytest.mark.slow
def test_a_probe_trains_the_experiments_own_network(tmp_path):
    """A schedule and an average that need hundreds of steps, and 100 classes without their data; a larger batch takes
    longer."""
    parameters = {
        "logdir": str(tmp_path),
        "lookahead": {},
        "schedule": {"kind": "cosine", "peak": 0.1, "warmup": 400, "duration": {"epochs": 10}},
    }
    small, large = (
        measure_pace(
            prepare(
                Experiment(
                    model="tiny_cnn",
                    module="tiny_models",
                    dataset="cifar100",
                    train_parameters=parameters | {"batch_size": size},
                ),
                info("cifar100"),
            )
        )
        for size in (8, 1024)
    )
    assert 0 < small.step < large.step
    assert small.startup > 10 * small.step  # tracing and compiling
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cluster", [None, '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}}'])
def test_a_probe_is_of_the_devices_that_would_train(monkeypatch, cluster):
    """128 images a device; of several workers this one, which must not wait for the others."""
    seen = []
    monkeypatch.setattr(estimate, "measure_pace", lambda job: seen.append(job.experiment) or Pace(9.0, 1.0))
    engine = estimate.engines.current()
    monkeypatch.setattr(engine, "replica_count", lambda distribution: 1 if distribution == "none" else 3)
    if cluster:
        monkeypatch.setenv("TF_CONFIG", cluster)
    rates = [estimate.probe("float32", distribution) for distribution in ("none", "mirrored", "auto", "multi_worker")]
    assert [e.train_parameters.batch_size for e in seen] == [128, 384, 128 if cluster else 384, 128]
    assert rates[1] == 3 * rates[0]
