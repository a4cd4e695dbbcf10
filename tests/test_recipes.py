"""Every shipped recipe: it parses, its model takes its arguments, and it is as long as what it re-makes."""

from pathlib import Path

import pytest

from cifarzoo.augment.policies import AUTOAUGMENT_CIFAR10, autoaugment_value, fast_autoaugment_value
from cifarzoo.augment.policy_lists import read_policies
from cifarzoo.models.catalogue import find
from cifarzoo.training.reading import read_experiments

RECIPES = Path(__file__).parent.parent / "recipes"
IMAGES = 50_000

# How long the original runs are: steps, or epochs at a batch size. None: a length of our own.
STEPS = {"resnet": 64_000, "vgg": 64_000, "wide_resnet": 80_000}
EPOCHS = {
    "flax_wrn26_10": (200, 256),
    "squared_loss": (200, 1000),
    "fast_autoaugment_wrn": (200, 128),
    "fast_autoaugment_shake_shake": (1800, 128),
    "resnet9": (24, 512),
}
BY_NAME = {
    "wrn26_6_ss-stepped200": (200, 256),
    "wrn26_6_ss-cosine1800": (1800, 256),
    "pyramid-stepped300": (300, 256),
    "pyramid-cosine1800": (1800, 256),
    "pyramid272a200b-micronet": (1800, 256),
    "skipnet38": 64_000,
    "skipnet38_supervised": 64_000,
    "skipnet38_reinforce": 10_000,
    "skipnet74": 64_000,
    "skipnet110": 64_000,
    "pyramid_skipnet272_a200": (1800, 256),
    "pyramid_skipnet272_a200_reinforce": (200, 256),
} | {
    f"pyramid272a200b-{data}-{augmentation}": (1800, 64)
    for data in ("cifar10", "cifar100")
    for augmentation in ("baseline", "cutout", "autoaugment", "policies")
}
OWN = {"zoo_resnet20", "resnet9_speed", "airbench94"}

ROWS = [
    pytest.param(path.stem, experiment, id=f"{path.stem}/{experiment.name}")
    for path in sorted(RECIPES.glob("*.yaml"))
    if path.name != "zoo.yaml"
    for experiment in read_experiments(path)
]


@pytest.mark.parametrize(("stem", "experiment"), ROWS)
def test_a_recipe_is_an_experiment_as_long_as_the_original(stem, experiment):
    record = find(experiment.model)
    assert set(experiment.model_parameters) <= set(record.arguments)
    steps = experiment.train_parameters.resolved_schedule().total(experiment.lengths(IMAGES))
    if stem in OWN:
        assert steps > 0
        return
    expected = STEPS.get(stem) or EPOCHS.get(stem) or BY_NAME[experiment.name]
    if isinstance(expected, tuple):
        epochs, batch_size = expected
        assert experiment.train_parameters.batch_size == batch_size
        expected = round(epochs * IMAGES / batch_size)
    assert steps == expected


def test_every_wanted_row_is_there():
    """How many experiments and runs each file stands for."""
    count = {}
    for stem, experiment in (row.values for row in ROWS):
        experiments, runs = count.get(stem, (0, 0))
        count[stem] = experiments + 1, runs + len(experiment.seeds)
    assert count["squared_loss"] == (12, 48)
    assert {stem: experiments for stem, (experiments, _) in count.items() if stem not in OWN} == {
        "resnet": 12,
        "vgg": 4,
        "wide_resnet": 3,
        "flax_wrn26_10": 1,
        "flax_wrn26_6_ss": 2,
        "flax_pyramid": 2,
        "squared_loss": 12,
        "fast_autoaugment_wrn": 16,
        "fast_autoaugment_shake_shake": 24,
        "fast_autoaugment_pyramidnet": 9,
        "skipnet": 5,
        "skipnet38": 2,
        "resnet9": 1,
    }


def test_every_recipe_opens_with_what_to_expect():
    for path in {RECIPES / f"{row.values[0]}.yaml" for row in ROWS}:
        comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
        text = " ".join(line.lstrip("# ") for line in comment)
        assert "https://" in text and "xpected" in text and "Cost" in text and "eviations" in text, path
        if path.stem not in OWN:
            assert "README" in text, path


def test_the_example_of_a_policy_list_is_autoaugments():
    """The same operations with the same probabilities and values, but for the two bits of Posterize."""
    found = read_policies(RECIPES / "policies" / "autoaugment_cifar10.yaml")
    assert len(found) == len(AUTOAUGMENT_CIFAR10)
    for ours, paper in zip(found, AUTOAUGMENT_CIFAR10, strict=True):
        for (name, probability, level), (paper_name, paper_probability, paper_level) in zip(ours, paper, strict=True):
            assert (name, probability) == (paper_name, paper_probability)
            if name in ("Posterize", "AutoContrast", "Equalize", "Invert"):
                continue
            value = autoaugment_value(name, paper_level)
            assert fast_autoaugment_value(name, level, 32) == pytest.approx(value, abs=1e-6), (name, level)
