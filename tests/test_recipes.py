"""Every shipped recipe: it parses, its model takes its arguments, and it trains as what it re-makes."""

from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from cifarzoo.augment.entries import specs_of
from cifarzoo.augment.policies import AUTOAUGMENT_CIFAR10, autoaugment_value, fast_autoaugment_value
from cifarzoo.augment.policy_lists import ABSOLUTE, read_policies
from cifarzoo.experiment.files import read_experiments
from cifarzoo.models.catalogue import find
from cifarzoo.publishing.wanted import read_rows
from cifarzoo.training.build import build_optimizer
from cifarzoo.training.optimizers.sgd import SGD

RECIPES = Path(__file__).parent.parent / "recipes"
POLICIES, SEARCHED = (RECIPES / "policies" / f"{name}_cifar10.yaml" for name in ("autoaugment", "searched"))
IMAGES = 50_000

ROWS = [
    pytest.param(path.stem, experiment, id=f"{path.stem}/{experiment.name}")
    for path in sorted(RECIPES.glob("*.yaml"))
    if path.name != "zoo.yaml"
    for experiment in read_experiments(path)
]
# Of our own making: there is no original to compare with.
OWN = {"resnet20_90ep", "resnet8", "resnet9_bag_of_tricks"}


class Original(NamedTuple):
    """How an original run trains, by its code and configuration.

    The length and the keys of `rates` are steps if they are whole numbers and epochs if they are not. The largest rate
    is the peak; of schedules in steps, every rate holds from its key on.
    """

    length: int | float
    batch_size: int
    rates: dict[int | float, float]
    optimizer: SGD
    augmentation: list | dict[str, list]  # of the last word of the name
    loss: tuple[str, float] = ("cross_entropy", 0.0)  # and label smoothing


CROP, REFLECT = ({"crop": {"padding": 4, "mode": mode}} for mode in ("zero", "reflect"))
FLIP = {"flip": {"probability": 0.5, "alternating": False}}
CUTOUT = {"cutout": {"size": 16, "fill": "mean"}}  # zeros after normalizing
MIXUP = {"mixup": {"alpha": 0.4, "per": "image", "probability": 1.0, "fold": True}}
STANDARD, REFLECTED = [CROP, FLIP], [REFLECT, FLIP]
LISTED = [{"policies": {"file": str(POLICIES), "fill": [0, 0, 0]}}, CROP, FLIP, CUTOUT]
CIFAR_JAX = {"plain": REFLECTED, "mixup": [*REFLECTED, MIXUP]}
FAST_AUTOAUGMENT = {
    "baseline": STANDARD,
    "cutout": [*STANDARD, CUTOUT],
    "autoaugment": [{"autoaugment": {"fill": "mean"}}, *STANDARD, CUTOUT],
    "randaugment": [
        {"randaugment": {"operations_per_image": 3, "magnitude": 5, "fill": "mean"}},
        *STANDARD,
        CUTOUT,
    ],
    "trivialaugment": [{"trivialaugment": {"fill": [0, 0, 0]}}, *STANDARD, CUTOUT],
    "searched": [{"policies": {"file": str(SEARCHED), "fill": [0, 0, 0]}}, *STANDARD, CUTOUT],
}


def keras(l2, nesterov=False):
    """Keras' regularizer on kernels, whose gradient has a factor of two; the rate is inside the velocity."""
    return SGD(0.9, nesterov, 2 * l2, decay_all=False, momentum_convention="tensorflow")


def plain(decay):
    return SGD(0.9, False, decay, decay_all=True)


def nesterov(decay, decay_all=True, clip_norm=0.0):
    return SGD(0.9, True, decay, decay_all, clip_norm)


def clipped(decay, decay_all):
    return nesterov(decay, decay_all, 5.0)


def warm_cosine(peak, epochs):
    return {2.5: peak / 2, 5.0: peak, (5.0 + epochs) / 2: peak / 2}


HE = {0: 0.1, 32_000: 0.01, 48_000: 0.001}
WARM_HE = {0: 0.01, 400: 0.1, 32_000: 0.01, 48_000: 0.001}
WIDE = {0: 0.1, 24_000: 0.02, 48_000: 0.004, 64_000: 0.0008}
FLAX = {0.0: 0.1, 60.0: 0.02, 120.0: 0.004, 160.0: 0.0008}
FLAX_PYRAMID = {0.0: 0.1, 150.0: 0.01, 225.0: 0.001}
FLAX_COSINE = {0.0: 0.1, 900.0: 0.05}
MICRONET = {0.0: 0.5, 450.0: 0.05, 900.0: 1e-3, 1125.0: 2e-4, 1350.0: 4e-6}

ORIGINALS = {
    # cifar-vs-tensorflow2.
    "resnet/*": Original(64_000, 128, WARM_HE, keras(1e-4), STANDARD),
    "vgg/*": Original(64_000, 128, WARM_HE, keras(2.5e-4), STANDARD),
    "wide_resnet/*": Original(80_000, 128, WIDE, keras(2.5e-4, nesterov=True), STANDARD),
    # Flax; all parameters decay, as when its README's numbers were measured.
    "flax_wrn26_10/*": Original(200.0, 256, FLAX, nesterov(5e-4), REFLECTED),
    "flax_wrn26_6_ss/*-stepped200": Original(200.0, 256, FLAX, nesterov(5e-4), REFLECTED),
    "flax_wrn26_6_ss/*-cosine1800": Original(1800.0, 256, FLAX_COSINE, nesterov(5e-4), REFLECTED),
    "flax_pyramid/*-stepped300": Original(300.0, 256, FLAX_PYRAMID, nesterov(1e-4), REFLECTED),
    "flax_pyramid/*-cosine1800": Original(1800.0, 256, FLAX_COSINE, nesterov(1e-4), REFLECTED),
    # cifar_jax.
    "squared_loss/*": Original(
        200.0, 1000, {10.0: 0.4, 20.0: 0.8, 110.0: 0.4}, clipped(5e-4, True), CIFAR_JAX, ("squared", 0.0)
    ),
    # Fast AutoAugment; in Shake-Shake its code does not find BatchNormalization to spare it.
    "fast_autoaugment_wrn/wrn_40_2-*": Original(
        200.0, 128, warm_cosine(0.1, 200), clipped(2e-4, False), FAST_AUTOAUGMENT
    ),
    "fast_autoaugment_wrn/wrn_28_10-*": Original(
        200.0, 128, warm_cosine(0.1, 200), clipped(5e-4, False), FAST_AUTOAUGMENT
    ),
    "*/shake26_2x32d-*": Original(1800.0, 128, warm_cosine(0.01, 1800), clipped(1e-3, True), FAST_AUTOAUGMENT),
    "*/shake26_2x96d-*": Original(1800.0, 128, warm_cosine(0.01, 1800), clipped(1e-3, True), FAST_AUTOAUGMENT),
    "*/shake26_2x112d-*": Original(1800.0, 128, warm_cosine(0.01, 1800), clipped(2e-3, True), FAST_AUTOAUGMENT),
    "*/pyramid272a200b-cifar*": Original(1800.0, 64, warm_cosine(0.05, 1800), clipped(5e-5, False), FAST_AUTOAUGMENT),
    # MicroNet, four workers of 64 images; then one device.
    "*/pyramid272a200b-micronet": Original(1800.0, 256, MICRONET, clipped(5e-5, True), LISTED),
    "*/pyramid_skipnet272_a200": Original(1800.0, 256, MICRONET, clipped(5e-5, True), LISTED),
    "*/pyramid_skipnet272_a200_reinforce": Original(200.0, 100, {0.0: 1e-5}, plain(5e-4), LISTED),
    # SkipNet.
    "skipnet/skipnet38": Original(64_000, 128, HE, plain(1e-4), STANDARD),
    "skipnet/skipnet74": Original(64_000, 128, HE, plain(1e-4), STANDARD),
    "skipnet/skipnet110": Original(64_000, 128, WARM_HE, plain(1e-4), STANDARD),
    "skipnet38/*_supervised": Original(64_000, 128, HE, plain(1e-4), STANDARD),
    "skipnet38/*_reinforce": Original(10_000, 128, {0: 1e-4}, plain(1e-4), STANDARD),
    # cifar10-fast.
    "resnet9/*": Original(
        24.0, 512, {0.0: 0.0, 2.5: 0.2, 5.0: 0.4, 14.5: 0.2}, nesterov(5e-4), [*REFLECTED, {"cutout": {"size": 8}}]
    ),
    # airbench: its rate of 11.5 is what Nesterov momentum makes of ours, its decay that of a step. Here it is longer.
    "airbench94/*": Original(
        16.0,
        1024,
        {3.7: 11.5 / (1 + 1 / 0.15)},
        SGD(0.85, True, round(0.0153 / 11.5, 5), decay_all=True, bias_lr_factor=64),
        [{"crop": {"padding": 2, "mode": "reflect"}}, {"flip": {"alternating": True}}],
        ("cross_entropy", 0.2),
    ),
}


# What the names of the originals stand for here. Flax counts WRN-28-10 and Shake-Shake-26 2x96d otherwise; cifar_jax's
# VGG has ten convolutions.
MODELS = {
    "wrn26_10": ("wrn_28_10", {"dropout": 0.3}),
    "wrn26_6_ss": ("shake_shake26_2x96d", {}),
    "pyramid": ("shakedrop_pyramidnet272_a200", {"shake_drop_mask": "image"}),
    "pyramid272a200b": ("shakedrop_pyramidnet272_a200", {"shake_drop_mask": "batch"}),
    "vgg": ("vgg13", {}),
    "resnet110_v1": ("resnet110", {"block_type": "original", "shortcut_type": "A"}),
    "resnet110_v2": ("resnet110", {"block_type": "preactivated", "shortcut_type": "B"}),
    # MicroNet's price of a gate, and its 0.1 over the number of gates for REINFORCE, as SkipNet's over 17.
    "pyramid_skipnet272_a200": ("pyramid_skipnet272_a200", {"computation_cost": 1e-4}),
    "pyramid_skipnet272_a200_reinforce": (
        "pyramid_skipnet272_a200",
        {"stage": "reinforce", "computation_cost": pytest.approx(0.1 / 59, abs=1e-5)},
    ),
    "skipnet38_supervised": ("skipnet38", {"gate": "recurrent"}),
    "skipnet38_reinforce": (
        "skipnet38",
        {"gate": "recurrent", "stage": "reinforce", "computation_cost": pytest.approx(0.1 / 17, abs=1e-5)},
    ),
}
ON_CIFAR100 = ("pyramid272a200b-micronet", "pyramid_skipnet272_a200", "pyramid_skipnet272_a200_reinforce")


def network(name):
    """Factory and arguments of an original's name."""
    name = name.split("-")[0]
    if name in MODELS:
        model, arguments = MODELS[name]
    elif name.endswith(("_v1", "_v2")):
        model, arguments = name[:-3], {"block_type": {"1": "original", "2": "preactivated"}[name[-1]]}
    else:
        model, arguments = name.replace("shake26", "shake_shake26"), {}
    return f"cifar_{model}", arguments


def test_a_second_stage_begins_with_the_weights_of_the_first():
    found = {experiment.name: experiment.init_weights for _, experiment in (row.values for row in ROWS)}
    assert {name: path.split("/")[-3:] for name, path in found.items() if path} == {
        "skipnet38_reinforce": ["skipnet38_supervised", "seed{seed}", "final.weights.h5"],
        "pyramid_skipnet272_a200_reinforce": ["pyramid_skipnet272_a200", "seed{seed}", "final.weights.h5"],
    }


@pytest.mark.parametrize(("stem", "experiment"), ROWS)
def test_a_recipe_is_an_experiment(stem, experiment):
    assert set(experiment.model_parameters) <= set(find(experiment.model).arguments)
    assert experiment.train_parameters.resolved_schedule().total(experiment.lengths(IMAGES)) > 0


@pytest.mark.parametrize(("stem", "experiment"), [row for row in ROWS if row.values[0] not in OWN])
def test_a_recipe_trains_as_the_original(stem, experiment):
    (original,) = (row for name, row in ORIGINALS.items() if fnmatch(f"{stem}/{experiment.name}", name))
    parameters = experiment.train_parameters

    def steps(length):
        return length if isinstance(length, int) else round(length * IMAGES / original.batch_size)

    assert parameters.batch_size == original.batch_size
    assert build_optimizer(experiment) == original.optimizer
    assert (parameters.loss, parameters.label_smoothing) == original.loss
    assert parameters.ema_decay == parameters.sam_rho == 0 and parameters.accumulate == 1
    if stem != "airbench94":
        assert parameters.lookahead is None and not parameters.progressive_resizing

    schedule, lengths = parameters.resolved_schedule(), experiment.lengths(IMAGES)
    assert schedule.total(lengths) == steps(original.length)
    rates = parameters.rate_factor * schedule.rates(np.arange(steps(original.length)), lengths)
    assert rates.max() == pytest.approx(max(original.rates.values()))
    for place, rate in original.rates.items():
        assert rates[steps(place)] == pytest.approx(rate, rel=2e-3), place
    if schedule.kind in ("stepped", "pyramid"):
        assert np.flatnonzero(np.diff(rates)).tolist() == [steps(place) - 1 for place in original.rates if place]

    assert (experiment.model, experiment.model_parameters) == network(experiment.name)
    cifar100 = "cifar100" in experiment.name or experiment.name in ON_CIFAR100
    assert experiment.dataset == ("cifar100" if cifar100 else "cifar10")
    assert experiment.train_split == "train" and experiment.val_split == "test"

    augmentation = original.augmentation
    if isinstance(augmentation, dict):
        augmentation = augmentation[experiment.name.rpartition("-")[2]]
    assert described(experiment.augmentation) == described(augmentation)


WANTED = {
    "resnet20_v1_cifar10_he2015_s0": "resnet20_v1",
    "vgg11_cifar10_64k_steps_s0": "vgg11",
    "wrn_40_4_cifar10_80k_steps_s0": "wrn_40_4",
    "resnet18_cifar100_squared_loss_s0": "resnet18-cifar100-plain",
    "wrn_28_10_cifar10_flax_dropout_s0": "wrn26_10",
    "shake_shake26_2x96d_cifar10_flax_s0": "wrn26_6_ss-stepped200",
    "pyramidnet272_a200_shakedrop_cifar10_flax_pyramid_s0": "pyramid-stepped300",
    "skipnet38_supervised_cifar10_skipnet_s0": "skipnet38",
}


@pytest.mark.parametrize(("tag", "name"), WANTED.items())
def test_a_wanted_row_trains_as_the_recipe_of_its_seed(tag, name):
    (row,) = (row for row in read_rows(RECIPES / "zoo.yaml", "runs") if row.tag == tag)
    (recipe,) = (experiment for _, experiment in (row.values for row in ROWS) if experiment.name == name)
    prices = (experiment.model_parameters.get("computation_cost", 0) for experiment in (row.experiment, recipe))
    assert len(set(prices)) == 1  # a part of the loss
    assert build_optimizer(row.experiment) == build_optimizer(recipe) and row.experiment.dataset == recipe.dataset
    assert described(row.experiment.augmentation) == described(recipe.augmentation)
    found = []
    for experiment in (row.experiment, recipe):
        parameters, lengths = experiment.train_parameters, experiment.lengths(IMAGES)
        schedule = parameters.resolved_schedule()
        rates = schedule.rates(np.arange(schedule.total(lengths)), lengths).tolist()
        found.append((parameters.batch_size, parameters.loss, parameters.label_smoothing, rates))
    assert found[0] == found[1]


def described(augmentation):
    """All parameters of all entries, without where a policy list comes from."""
    return [(type(spec), spec.model_dump()) for spec in specs_of(augmentation)]


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
        "fast_autoaugment_wrn": 24,
        "fast_autoaugment_shake_shake": 36,
        "fast_autoaugment_pyramidnet": 13,
        "skipnet": 5,
        "skipnet38": 2,
        "resnet9": 1,
        "airbench94": 1,
    }


def test_every_recipe_opens_with_what_to_expect():
    for path in {RECIPES / f"{row.values[0]}.yaml" for row in ROWS}:
        comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
        text = " ".join(line.lstrip("# ") for line in comment)
        assert "https://" in text and "xpected" in text and "Cost" in text and "eviations" in text, path
        if path.stem not in {*OWN, "airbench94"}:
            assert "README" in text, path


def test_the_example_of_a_policy_list_is_autoaugments():
    """The same operations with the same probabilities and values."""
    found = read_policies(POLICIES)
    assert len(found) == len(AUTOAUGMENT_CIFAR10)
    for ours, paper in zip(found, AUTOAUGMENT_CIFAR10, strict=True):
        for (name, probability, level), (paper_name, paper_probability, paper_level) in zip(ours, paper, strict=True):
            assert (ABSOLUTE.get(name, name), probability) == (paper_name, paper_probability)
            if name in ("AutoContrast", "Equalize", "Invert"):
                continue
            value = autoaugment_value(paper_name, paper_level)
            assert fast_autoaugment_value(name, level, 32) == pytest.approx(value, abs=1e-6), (name, level)
