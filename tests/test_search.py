"""The search for augmentation policies: its space, its table, its objectives and its lists, without training."""

import itertools
import os
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from evaluation_cases import run_cli
from PIL import Image, ImageDraw
from test_augment_operations import GRAY, pillow, textured
from tiny_models import tiny_cnn

from cifarzoo.augment.policies import fast_autoaugment_value
from cifarzoo.augment.policy_lists import GEOMETRIC, OPERATIONS, read_policies
from cifarzoo.errors import DataError, ExperimentError
from cifarzoo.search.held_out import HeldOut
from cifarzoo.search.objectives import expected, reward, select
from cifarzoo.search.plan import SearchPlan, Selection, plan_from, read_plan
from cifarzoo.search.policy_list import read_header, write_list
from cifarzoo.search.scorer import Scorer
from cifarzoo.search.space import Space
from cifarzoo.search.stages import search
from cifarzoo.search.table import Table, TableFiles, bilinear, read_shard
from cifarzoo.search.uniformity import uniformity

# Operations that agree with Pillow to the bit, so that the networks' outputs differ by rounding only.
EXACT = ("Rotate", "TranslateX", "Solarize", "Invert", "Equalize", "Brightness", "Cutout")
NETWORKS = {"model": "cifar_resnet20", "dataset": "synthetic"}


@pytest.fixture(scope="module")
def space():
    return Space(EXACT, 3, 32)


def held_out(count=20):
    random = np.random.RandomState(0)
    draws = (random.randint(0, 2**24, (count, 2, 2)) / 2**24).astype("float32")
    return HeldOut(textured(count), random.randint(0, 10, count).astype("int32"), draws)


def random_table(space, seed=0, images=50):
    """A table in which what is recognized depends on the transformations, so that policies differ."""
    random = np.random.RandomState(seed)
    cells = len(space)
    losses = random.gamma(2.0, 0.5, (cells, cells, images)).astype("float16")
    correct = random.random_sample((cells, cells, images)) < random.random_sample((cells, cells, 1))
    correct[0, 0] = random.random_sample(images) < 0.9
    return Table(losses.mean(-1, dtype="float64"), correct.mean(-1), correct, 0.0)


def by_pillow(image, name, level, draw):
    """Apply one operation to an image as Fast AutoAugment's code does, one image at a time."""
    value = fast_autoaugment_value(name, level, 32)
    if name in GEOMETRIC and draw[0] < 0.5:
        value = -value
    if name != "Cutout":
        return pillow(name, image, value)
    changed = Image.fromarray(image)
    if value > 0:
        left, top = (int(max(0.0, 32 * float(place) - value / 2)) for place in draw)
        ImageDraw.Draw(changed).rectangle((left, top, min(32, left + value), min(32, top + value)), GRAY)
    return np.asarray(changed)


# ------------------------------------------------------------------------------------------------ the space


def test_the_full_space_has_every_transformation_once():
    """Five strengths of five geometric operations; ten of four factors, of Solarize and of Cutout; four of Posterize;
    three operations without a level; and nothing itself."""
    space = Space(OPERATIONS, 11, 32)
    assert len(space) == 5 * 5 + 4 * 10 + 10 + 10 + 4 + 3 + 1
    assert len(set(space.cells)) == len(space)
    assert len({space.cell(name, level / 10) for name in OPERATIONS for level in range(11)}) == len(space)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "Cutout"])
def test_levels_share_a_cell_if_pillow_makes_the_same_of_them(name):
    """A geometric operation's sign is random, so that it makes one of two images."""
    space, images = Space([name], 11, 32), textured(6)

    def outcomes(level):
        value = fast_autoaugment_value(name, level, 32)
        values = (value, -value) if name in GEOMETRIC else (value,)
        return {np.stack([pillow(name, image, one) for image in images]).tobytes() for one in values}

    levels = [number / 10 for number in range(11)]
    for one, other in itertools.combinations(levels, 2):
        assert (space.cell(name, one) == space.cell(name, other)) == (outcomes(one) == outcomes(other)), (one, other)
    for level in levels:
        assert (space.cell(name, level) == 0) == (outcomes(level) == {images.tobytes()}), level


def test_a_level_counts_as_the_nearest_of_the_grid():
    space = Space(["Solarize"], 11, 32)
    assert [space.cell("Solarize", level) for level in (0.0, 0.049, 0.051, 0.94, 0.96, 1.0)] == [1, 1, 2, 10, 0, 0]
    with pytest.raises(ExperimentError, match="operation 'Twirl': not in this search, which has Solarize"):
        space.cell("Twirl", 0.5)


# ------------------------------------------------------------------------------------------------ the table


def test_the_table_is_that_of_pillow_one_image_at_a_time(space):
    images, model = held_out(20), tiny_cnn()
    scorer = Scorer(model, space, images, batch=64)
    for first in range(len(space)):
        loss, correct = scorer.scores(first)
        for second in range(len(space)):
            changed = []
            for image, draws in zip(images.images, images.draws, strict=True):
                for (name, level), draw in zip((space.cells[first], space.cells[second]), draws, strict=True):
                    image = image if name == "Identity" else by_pillow(image, name, level, draw)
                changed.append(image)
            logits = np.asarray(model(np.stack(changed).astype("float32"), training=False), "float64")
            expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(20), images.labels]
            np.testing.assert_allclose(loss[second], expected, atol=2e-4)
            ranked = np.sort(logits, axis=1)
            certain = ranked[:, -1] - ranked[:, -2] > 1e-3
            np.testing.assert_array_equal(correct[second][certain], (logits.argmax(1) == images.labels)[certain])
    if keras.backend.backend() == "tensorflow":  # one program for all sub-policies
        assert scorer._augment.experimental_get_tracing_count() == 1
        assert scorer._network._compiled.experimental_get_tracing_count() == 1


def test_the_bilinear_formula_is_the_mean_of_samples(space):
    table, random = random_table(space), np.random.RandomState(1)
    losses = random.gamma(2.0, 0.5, table.correct.shape)
    first, second, p, q, draws = 3, 5, 0.3, 0.8, 40_000
    image = random.randint(0, 50, draws)
    before = np.where(random.random_sample(draws) < p, first, 0)
    after = np.where(random.random_sample(draws) < q, second, 0)
    for values, mean in ((losses, losses.mean(-1)), (table.correct, table.accuracy)):
        sample = values[before, after, image].astype("float64")
        error = sample.std() / np.sqrt(draws)
        assert abs(sample.mean() - bilinear(mean, first, p, second, q)) < 4 * error


def test_a_shard_survives_its_file_and_damage_is_one_line(tmp_path):
    space = Space(["Invert", "Solarize"], 3, 32)
    random = np.random.RandomState(0)
    loss, correct = random.random_sample((4, 11)).astype("float32"), random.random_sample((4, 11)) < 0.5
    files = TableFiles(tmp_path / "fold1", "a hash", len(space), 11)
    assert len(space) == 4 and files.missing() == [0, 1, 2, 3]
    for first in range(4):
        files.measure(lambda first: (loss + first, correct), first)
    assert files.missing() == [] and not list(files.folder.glob("*.part*"))
    killed, busy = (files.folder / f"shard0001.part-1234567{digit}.npz" for digit in (8, 9))
    for path in (killed, busy):
        path.write_bytes(b"of another process")
    os.utime(killed, (0, 0))
    table = files.read()
    assert len(list(files.folder.iterdir())) == 5 and busy.is_file()
    busy.unlink()
    np.testing.assert_array_equal(table.correct, np.stack([correct] * 4))
    np.testing.assert_allclose(read_shard(files.path(2), "a hash", 2, 4, 11).loss, loss + 2, rtol=1e-3)
    np.testing.assert_allclose(table.loss[3], (loss + 3).mean(1))
    with pytest.raises(DataError, match="shard0000.npz: measured with another network, other images or oper"):
        TableFiles(files.folder, "another hash", 4, 11).read()
    with pytest.raises(DataError, match="contradict each other"):
        TableFiles(files.folder, "a hash", 4, 12).read()
    content = files.path(1).read_bytes()
    for damaged in (b"", content[:200], content.replace(b"PK", b"KP"), content[:-40] + bytes(40)):
        files.path(1).write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            files.missing()
        line = str(caught.value)
        assert line.startswith(f"{files.path(1)}: damaged (") and "\n" not in line and "delete it" in line
    files.path(1).unlink()
    with pytest.raises(DataError, match="shard0001.npz: missing: this part of the table has not been measured"):
        files.read()


# ------------------------------------------------------------------------------------------------ objectives


def test_the_reward_counts_images_that_any_draw_recognizes(space):
    table, random = random_table(space), np.random.RandomState(2)
    policy = [(1, 0.5, 2, 0.5), (3, 1.0, 4, 0.0), (0, 0.2, 5, 0.9), (6, 0.7, 6, 0.7), (2, 0.1, 1, 1.0)]
    numbers = random.random_sample((5, 50, 3))
    right = 0
    for image in range(50):
        outcomes = []
        for which, one, two in numbers[:, image]:
            first, p, second, q = policy[int(which * 5)]
            outcomes.append(table.correct[first if one < p else 0, second if two < q else 0, image])
        right += any(outcomes)
    assert reward(table, policy, numbers) == right / 50


def test_official_keeps_the_best_policies_of_every_search(space):
    selection = Selection(samples=30, best=2, rounds=2)
    tables = [random_table(space, seed) for seed in (0, 1)]
    policies = select("official", space, tables, selection)
    assert policies == select("official", space, tables, selection)
    assert policies != select("official", space, tables, Selection(samples=30, best=2, rounds=2, seed=1))
    assert policies != select("official", space, tables, selection, seed=1)
    assert 2 * 2 * 2 * 3 < len(policies) <= 2 * 2 * 2 * 5
    uniform = select("uniform", space, [], Selection(size=len(policies)))
    assert expected(space, tables, policies)["accuracy"] > expected(space, tables, uniform)["accuracy"]


def test_mean_finds_the_corner_that_no_probability_beats(space):
    table = random_table(space)
    policies = select("mean", space, [table], Selection(size=20))
    grid = np.linspace(0, 1, 5)
    lowest = {
        (first, second): min(bilinear(table.loss, first, p, second, q) for p, q in itertools.product(grid, grid))
        for first, second in itertools.product(range(1, len(space)), repeat=2)
    }
    losses = []
    for (one, p, level), (other, q, another) in policies:
        cells = space.cell(one, level), space.cell(other, another)
        assert {p, q} <= {0.0, 1.0}
        losses.append(float(bilinear(table.loss, cells[0], p, cells[1], q)))
        assert losses[-1] == pytest.approx(lowest[cells])
    assert losses == pytest.approx(sorted(lowest.values())[:20])


def test_mean_does_nothing_where_every_transformation_does_harm(space):
    table = random_table(space)
    table.loss[0, 0] = 0.01
    policies = select("mean", space, [table], Selection(size=20))
    assert {probability for sub_policy in policies for _, probability, _ in sub_policy} == {0.0}


def test_band_takes_the_most_diverse_within_the_fall(space):
    table = random_table(space)
    policies = select("band", space, [table], Selection(size=30, fall=20))
    cells = [tuple(space.cell(name, level) for name, _, level in sub_policy) for sub_policy in policies]
    floor = table.accuracy[0, 0] - 0.2 - 1e-9
    assert all(table.accuracy[pair] >= floor for pair in cells) and len(set(cells)) == len(cells)
    names = [(space.operation_numbers[first], space.operation_numbers[second]) for first, second in cells]
    turn = names[: len(set(names))]  # the first turn has each pair of operations once
    assert len(set(turn)) == len(turn)
    for pair, name in zip(cells[: len(turn)], turn, strict=True):
        rivals = [
            table.loss[first, second]
            for first, second in itertools.product(range(1, len(space)), repeat=2)
            if (space.operation_numbers[first], space.operation_numbers[second]) == name
            and table.accuracy[first, second] >= floor
        ]
        assert table.loss[pair] == max(rivals)
    table.accuracy[1:, 1:] = 0.0
    with pytest.raises(ExperimentError, match="selection.fall: no sub-policy keeps the accuracy within 5 points"):
        select("band", space, [table], Selection())


# ------------------------------------------------------------------------------------------------ uniformity


def test_a_uniform_list_passes_and_a_planted_one_fails():
    space = Space(OPERATIONS, 11, 32)
    seeds = [uniformity(select("uniform", space, [], Selection(size=500, seed=seed)), OPERATIONS) for seed in range(2)]
    lowest = min(test["p"] for tests in seeds for test in tests.values())
    assert lowest > 0.01 / 6  # six tests, each of which falls below with this chance
    policies = select("uniform", space, [], Selection(size=500))
    tests = uniformity(policies, OPERATIONS)
    assert all(test["p"] > 0.01 for test in tests.values()), tests
    assert tests["operations"]["degrees_of_freedom"] == 14 and tests["probabilities"]["n"] == 1000
    assert 700 < tests["levels"]["n"] < 900  # three of fifteen operations have no level

    def changed(change):
        planted = [tuple(change(*operation) for operation in sub_policy) for sub_policy in policies]
        return {name for name, test in uniformity(planted, OPERATIONS).items() if test["p"] < 1e-3}

    assert changed(lambda name, p, level: ("Invert" if p < 0.1 else name, p, level)) >= {"operations"}
    assert changed(lambda name, p, level: (name, p**1.3, level)) == {"probabilities"}
    assert changed(lambda name, p, level: (name, p, 0.15 + 0.7 * level)) == {"levels"}
    assert changed(lambda name, p, level: (name, 1.0, 1.0)) == {"probabilities", "levels"}


def test_the_chi_square_is_pearsons():
    policies = [(("Invert", 0.5, 0.5), ("Rotate", 0.5, 0.5))] * 3 + [(("Invert", 0.5, 0.5), ("Invert", 0.5, 0.5))]
    tests = uniformity(policies, ["Invert", "Rotate", "Solarize"])
    counts = np.array([5, 3, 0])
    assert tests["operations"]["chi_square"] == pytest.approx((((counts - 8 / 3) ** 2) / (8 / 3)).sum())
    assert tests["levels"]["n"] == 3


# ------------------------------------------------------------------------------------------------ files and plans


def test_a_list_is_read_as_policies_and_its_header_as_written(tmp_path):
    policies = [(("Invert", 0.25, 0.0001), ("Rotate", 1.0, 0.5)), (("Cutout", 0.0, 1.0), ("Equalize", 0.3333, 0.1))]
    header = {"objective": "mean", "cost": {"seconds": {"train": 1.5}}, "networks": ["ab", "cd"], "seed": 0}
    path = tmp_path / "lists" / "mean.yaml"
    write_list(path, header, policies)
    assert read_policies(path) == tuple(policies)
    assert {key: value for key, value in read_header(path).items() if key != "list_sha256"} == header
    text = path.read_text()
    for changed in (text.replace("Rotate, 1.0", "Rotate, 0.9"), text[: text.index("- [[Cutout")]):
        path.write_text(changed)
        with pytest.raises(DataError, match=r"mean.yaml: was changed since `cifarzoo search` wrote it"):
            read_header(path)
    (tmp_path / "other.yaml").write_text("- [[Invert, 0.1, 0.7], [Contrast, 0.2, 0.6]]\n")
    for name, words in (("other.yaml", "it has no header"), ("absent.yaml", "No such file")):
        with pytest.raises(DataError, match=words):
            read_header(tmp_path / name)


def test_folds_are_complementary_parts_with_seeds_of_their_own():
    plan = plan_from({"networks": NETWORKS, "of": {"images": 400}, "folds": 3, "seed": 2, "held_out": 0.4}, "plan")
    experiments = plan.experiments()
    assert [experiment.train_split for experiment in experiments] == [
        f"train45k:images=400:rest=0.4:seed={2000 + fold}" for fold in (1, 2, 3)
    ]
    assert experiments[0].val_split == "train45k:images=400:held_out=0.4:seed=2001"
    assert [experiment.name for experiment in experiments] == ["fold1", "fold2", "fold3"]
    assert {tuple(experiment.seeds) for experiment in experiments} == {(2,)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operations": ["Rotate", "Twirl"]}, "operations[1]: expected 'ShearX'"),
        ({"operations": ["Rotate", "Rotate"]}, "operations: lists one twice"),
        ({"fold": 3}, "fold: unknown key; did you mean folds or folder?"),
        ({"folds": 0}, "folds: must be greater than 0, got 0"),
        ({"held_out": 1}, "held_out: must be less than 1, got 1"),
        ({"levels": 1}, "levels: must be at least 2, got 1"),
        ({"of": "validation"}, "of: expected train, train45k, or a part"),
        ({"selection": {"best": 300}}, "selection: best: must be at most samples, 200, got 300"),
        ({"networks": 3}, "networks: expected the keys of an experiment, got 3"),
        ({"networks": NETWORKS | {"dataset": "cifar11"}}, "networks: dataset: expected cifar10"),
        ({"networks": NETWORKS | {"seeds": [1]}}, "networks.seeds: set by the search; leave it out"),
        (
            {"networks": NETWORKS | {"train_parameters": {"logdir": "x"}}},
            "networks.train_parameters.logdir: set by the search",
        ),
        (
            {"networks": NETWORKS | {"train_parameters": {"best_weights": "val_error"}}},
            "networks.train_parameters.best_weights: would choose the weights by the held-out images",
        ),
        (
            {"networks": NETWORKS | {"callbacks": ["EarlyStopping"]}},
            "networks.callbacks: EarlyStopping would follow val_loss of the held-out images",
        ),
        (
            {"networks": NETWORKS | {"callbacks": [{"name": "Mine", "module": "mine", "monitor": "val_error"}]}},
            "networks.callbacks: mine.Mine would follow val_error of the held-out images",
        ),
    ],
)
def test_a_wrong_plan_is_one_line(tmp_path, changes, words):
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump({"networks": NETWORKS} | changes))
    with pytest.raises(ExperimentError) as caught:
        read_plan(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and words in message and "\n" not in message


def test_the_plan_in_the_documentation_is_valid_and_its_table_names_every_key():
    page = (Path(__file__).parent.parent / "docs" / "search.md").read_text(encoding="utf-8")
    plan = plan_from(yaml.safe_load(re.search(r"```yaml\n(# search.yaml.*?)```", page, re.DOTALL)[1]), "the page")
    assert plan.experiment(1).dataset == "cifar10" and plan.of == "train45k:images=4000"
    settings = page.partition("## Settings")[2]
    keys = {*SearchPlan.model_fields, *Selection.model_fields} - {"selection"}
    assert not {key for key in keys if not re.search(rf"`(selection\.)?{key}`", settings)}


def test_a_plan_takes_a_recipe_and_overrides(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("networks: {recipe: resnet20_90ep, dataset: synthetic}\n")
    plan = read_plan(path, ["folds=2", "networks.train_parameters.batch_size=64", "selection.fall=2"])
    assert plan.experiment(2).model == "cifar_resnet20" and plan.selection.fall == 2 and plan.folds == 2
    assert plan.experiment(2).train_parameters.batch_size == 64
    assert plan.fingerprint() != read_plan(path).fingerprint()
    assert plan.fingerprint() == read_plan(path, ["folds=2", "networks.train_parameters.batch_size=64"]).fingerprint()


def test_everything_of_a_plan_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    plan = plan_from({"networks": NETWORKS, "folder": "~/search"}, "plan")
    assert Path(plan.folder) == tmp_path / "search"
    assert Path(plan.experiment(1).train_parameters.logdir).parent == tmp_path / "search"


def test_the_command_names_what_is_wrong_and_writes_a_uniform_list_without_networks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli(monkeypatch, capsys, "search") == (
        1,
        "",
        ["cifarzoo: error: search.yaml: no such file; name another (docs/search.md describes the format)"],
    )
    (tmp_path / "search.yaml").write_text(yaml.safe_dump({"networks": NETWORKS}))
    _, _, errors = run_cli(monkeypatch, capsys, "search", "--objective", "median")
    assert errors == ["cifarzoo: error: --objective median: expected official, mean, band, uniform"]
    arguments = ("search", "--objective", "uniform", "--format", "tsv")
    status, output, errors = run_cli(monkeypatch, capsys, *arguments)
    assert (status, errors) == (0, []) and "uniform\t500" in output
    written = (tmp_path / "search" / "lists" / "uniform.yaml").read_text()
    assert len(read_policies(tmp_path / "search" / "lists" / "uniform.yaml")) == 500
    assert run_cli(monkeypatch, capsys, *arguments)[:2] == (0, output)
    assert (tmp_path / "search" / "lists" / "uniform.yaml").read_text() == written
    assert run_cli(monkeypatch, capsys, *arguments, "--set", "selection.fall=20")[0] == 0  # of another objective
    _, _, errors = run_cli(monkeypatch, capsys, "search", "--set", "selection.best=30")
    assert len(errors) == 1 and "selection: folds x rounds x best x 5 is 1,500 sub-policies" in errors[0]
    _, _, errors = run_cli(monkeypatch, capsys, *arguments, "--set", "selection.size=20")
    assert len(errors) == 1 and "uniform.yaml: was selected with other settings (selection)" in errors[0]
    # A folder belongs to a plan as soon as it has a network or a table.
    assert run_cli(monkeypatch, capsys, *arguments, "--set", "levels=5")[0] == 0
    (tmp_path / "search" / "networks").mkdir()
    # The networks' splits and seeds, which follow from these settings, are not named.
    for changes, keys in (
        (["levels=7"], "levels"),
        (["levels=5", "held_out=0.3"], "held_out"),
        (["levels=5", "seed=1"], "seed"),
    ):
        options = [option for change in changes for option in ("--set", change)]
        _, _, errors = run_cli(monkeypatch, capsys, *arguments, *options)
        line = f"search: holds a search with other settings (different: {keys}); set another folder, or delete this one"
        assert errors == [f"cifarzoo: error: {line}"]


def test_a_plan_that_cannot_be_carried_out_keeps_no_folder_from_the_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump({"networks": NETWORKS | {"dataset": {"folder": "nothing"}}}))
    _, _, errors = run_cli(monkeypatch, capsys, "search")
    assert len(errors) == 1 and "nothing" in errors[0]
    (tmp_path / "search.yaml").write_text(yaml.safe_dump({"networks": NETWORKS}))
    assert run_cli(monkeypatch, capsys, "search", "--objective", "uniform")[0] == 0
    (tmp_path / "search" / "networks").mkdir()
    (tmp_path / "search" / "plan.yaml").write_text("levels: [")
    _, _, errors = run_cli(monkeypatch, capsys, "search", "--objective", "uniform")
    assert len(errors) == 1 and errors[0].endswith("delete it, and the same command writes it again")
    (tmp_path / "file").touch()
    _, _, errors = run_cli(monkeypatch, capsys, "search", "--set", "folder=file")
    assert errors == ["cifarzoo: error: file: is a file; set another folder"]


@pytest.mark.parametrize("missing", ["optuna", "scipy"])
def test_missing_packages_are_named_before_anything_is_trained(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)  # Python refuses to import it
    plan = plan_from({"networks": NETWORKS, "folder": str(tmp_path / "search")}, "plan")
    with pytest.raises(ExperimentError, match=rf"(?i)^{missing}, which .*, cannot be imported .*: pip install"):
        search(plan)
    assert not (tmp_path / "search").exists()
