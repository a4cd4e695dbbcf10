"""Parts of a training split: what they contain, how documents name them, and runs on them."""

import json
from contextlib import nullcontext

import numpy as np
import pytest

import cifarzoo
from cifarzoo.data import load
from cifarzoo.data.info import info
from cifarzoo.data.subsets import parse
from cifarzoo.errors import DataError, ExperimentError
from cifarzoo.evaluation.evaluate import evaluate
from cifarzoo.evaluation.load_model import load_run
from cifarzoo.evaluation.measured_data import measured_data
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.merging import merge
from cifarzoo.pretrained.description import read_description
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.job import prepare
from cifarzoo.training.trainer import run

LABELS = np.random.RandomState(0).choice(4, 1000, p=[0.4, 0.3, 0.2, 0.1])


def experiment(folder="runs", **changes):
    document = {
        "module": "tiny_models",
        "model": "tiny_linear",
        "dataset": "synthetic",
        "train_split": {"images": 400, "without_fold": "2/5"},
        "val_split": {"images": 400, "fold": "2/5"},
        "train_parameters": {
            "logdir": str(folder),
            "batch_size": 32,
            "schedule": {"kind": "constant", "learning_rate": 0.05, "duration": 6},
        },
    }
    return experiment_from([document | changes], "file")


def shares(positions):
    return np.bincount(LABELS[positions], minlength=4) / len(positions)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_reduced_set_is_stratified_and_repeatable(seed):
    name = f"train:images=100:seed={seed}"
    positions = parse(name).choose(LABELS)
    assert len(positions) == 100 and (np.diff(positions) > 0).all()
    np.testing.assert_allclose(shares(positions), shares(np.arange(1000)), atol=0.01)
    np.testing.assert_array_equal(parse(name).choose(LABELS), positions)
    assert not np.array_equal(parse("train:images=100:seed=7").choose(LABELS), positions)


def test_folds_are_disjoint_stratified_and_complete():
    folds = [parse(f"train45k:fold={k}/7").choose(LABELS) for k in range(1, 8)]
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(1000))
    assert {len(fold) for fold in folds} == {142, 143}
    for k, fold in enumerate(folds, start=1):
        counts = np.bincount(LABELS[fold], minlength=4)
        assert np.abs(counts - np.bincount(LABELS) / 7).max() < 1
        rest = parse(f"train45k:without_fold={k}/7").choose(LABELS)
        np.testing.assert_array_equal(np.setdiff1d(np.arange(1000), fold), rest)


def test_random_shares_of_several_seeds_overlap_as_by_chance():
    """Fast AutoAugment's "folds" are five independent random splits of 60 and 40 %."""
    held = [parse(f"train:held_out=0.4:seed={seed}").choose(LABELS) for seed in range(5)]
    for seed, positions in enumerate(held):
        assert len(positions) == 400
        np.testing.assert_allclose(shares(positions), shares(np.arange(1000)), atol=0.01)
        rest = parse(f"train:rest=0.4:seed={seed}").choose(LABELS)
        np.testing.assert_array_equal(np.setdiff1d(np.arange(1000), positions), rest)
    common = [len(np.intersect1d(a, b)) for n, a in enumerate(held) for b in held[:n]]
    assert 130 < np.mean(common) < 190  # 160 by chance


def test_steps_choose_among_what_the_one_before_left():
    outer = parse("train:images=100").choose(LABELS)
    inner = parse("train:images=100:fold=1/4").choose(LABELS)
    assert len(inner) == 25 and set(inner) < set(outer)


def test_lists_of_positions(tmp_path):
    np.save(tmp_path / "a.npy", np.array([5, 3, 9]))
    (tmp_path / "b.txt").write_text("5\n3  # the easiest\n9\n", encoding="utf-8")
    for name in ("a.npy", "b.txt"):
        assert parse(f"train:indices={tmp_path / name}").choose(LABELS).tolist() == [3, 5, 9]
    for values, message in (([5, 5], "lists a position twice"), ([1000], "positions are from 0 to 999, got 1,000")):
        np.save(tmp_path / "a.npy", np.array(values))
        with pytest.raises(DataError, match=message):
            parse(f"train:indices={tmp_path / 'a.npy'}").choose(LABELS)


def test_data_sets_have_them():
    data = load("synthetic")
    part = data.split("train45k:images=100:fold=2/5")
    positions = data.positions("train45k:images=100:fold=2/5")
    assert len(part) == 20 == data.size("train45k:images=100:fold=2/5")
    np.testing.assert_array_equal(part.labels, data.train.labels[positions])
    assert not set(positions) & set(data.positions("validation"))
    assert info("cifar10").size("train45k:images=4000:without_fold=1/5") == 3200


@pytest.mark.parametrize(
    "split, name",
    [
        ({"images": 4000}, "train45k:images=4000"),
        ({"of": "train", "fold": "2/5", "seed": 3}, "train:fold=2/5:seed=3"),
        ({"images": 400, "rest": 0.4}, "train45k:images=400:rest=0.4"),
        ({"of": {"images": 400, "seed": 2}, "rest": 0.4, "seed": 1}, "train45k:images=400:seed=2:rest=0.4:seed=1"),
        ({"of": "train45k:images=400", "without_fold": "1/2"}, "train45k:images=400:without_fold=1/2"),
        ({"held_out": 0.0101234567}, "train45k:held_out=0.0101234567"),
        ({"indices": "C:/data/50%.npy"}, "train45k:indices=C%3A/data/50%25.npy"),
        ("train45k:images=0400:seed=0", None),
        ("train45k:images=400:seed=0", "train45k:images=400"),
    ],
)
def test_documents_name_them(split, name):
    if name is None:
        with pytest.raises(ExperimentError, match="cannot read images=0400"):
            experiment(train_split=split)
        return
    one = experiment(train_split=split)
    assert one.train_split == name
    assert experiment(train_split=name).fingerprint() == one.fingerprint()
    assert one.resolved()["train_split"] == name


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_split": "test"}, "train_split: expected train, train45k, or a part such as"),
        ({"val_split": "train"}, "val_split: expected test, validation, or a part such as"),
        ({"train_split": {"of": "test", "images": 5}}, "expected a part of train or train45k, such as"),
        ({"train_split": {"of": "train"}}, "expected one of images, fold, without_fold, held_out, rest and indices"),
        ({"train_split": {"fold": "6/5"}}, "fold: expected K/N with K from 1 to N, N at least 2, got 6/5"),
        ({"train_split": {"fold": 2}}, "train_split.fold"),
        ({"train_split": {"held_out": 40}}, "held_out: must be less than 1, got 40"),
        ({"train_split": {"fold": "2/5:seed=9"}}, "train_split.fold"),
        ({"train_split": {"fold": "2/5", "without_fold": "1/5"}}, "at most one of fold, without_fold; nest with `of`"),
        ({"train_split": {"indices": "a.npy", "seed": 3}}, "seed: nothing is drawn; leave it out"),
        ({"train_split": {"folds": 5}}, "train_split.folds: unknown key"),
        ({"train_split": "train45k:images=8"}, "batch_size: 32 is more than the 8 training images of synthetic"),
    ],
)
def test_mistakes_are_one_line(changes, message):
    with pytest.raises(ExperimentError, match=message) as caught:
        experiment(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_split": {"images": 10_000}}, "has 9,000 images, cannot choose 10,000 of them"),
        (
            {"train_split": "train", "val_split": {"images": 400}},
            "val_split: 400 of the 400 images of .* are among those",
        ),
        (
            {"train_split": {"of": "train", "rest": 0.1}, "val_split": "validation"},
            "of the 1,000 images of validation are",
        ),
        ({"train_split": {"indices": "none.npy"}}, "train_split: none.npy: does not exist or is not a file"),
    ],
)
def test_what_does_not_fit_the_data_is_one_line(changes, message):
    with pytest.raises(ExperimentError, match=message) as caught:
        prepare(experiment(**changes), load("synthetic"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "train_split, val_split, is_refused",
    [
        ("train", "train45k:fold=1/5", True),
        ("train45k", "train45k:fold=1/5", True),
        ("train45k:images=4000", "train45k:fold=1/5", True),
        ("train45k:without_fold=1/5", "train45k:fold=1/5", False),
        ("train45k:without_fold=1/5", "train45k:fold=2/5", True),
        ("train45k:fold=1/5", "test", False),
        ("train45k", "train:held_out=0.1", False),  # which of these are in train45k, only the labels tell
    ],
)
def test_a_dry_run_refuses_parts_that_overlap(train_split, val_split, is_refused):
    one = experiment(train_split=train_split, val_split=val_split)
    with pytest.raises(ExperimentError, match="are among those to train on") if is_refused else nullcontext():
        prepare(one, info("synthetic"))


def test_dropping_images_leaves_the_others_in_their_parts():
    """Whoever measures a run without its document has the same parts, apart from the dropped images."""
    data, drop = load("synthetic"), [0, 17, 5000]
    one = experiment(drop=drop, labels={"symmetric": 0.5})
    changed = prepare(one, data).arrays
    position = np.setdiff1d(np.arange(len(data.train)), drop)  # in the data set, of each image that is left
    for name in (one.train_split, one.val_split):
        expected = np.setdiff1d(data.positions(name), drop)
        np.testing.assert_array_equal(position[changed.positions(name)], expected)
        np.testing.assert_array_equal(changed.split(name).images, data.train.images[expected])


def test_a_split_of_another_kind_replaces_the_one_below():
    """A recipe's fold and a document's share would choose a third part."""
    below = {"train_split": {"images": 400, "without_fold": "2/5"}}
    assert merge(below, {"train_split": {"rest": 0.4}}) == {"train_split": {"rest": 0.4}}
    other = {"images": 400, "without_fold": "3/5"}
    assert merge(below, {"train_split": {"without_fold": "3/5"}}) == {"train_split": other}
    assert merge(below, {"train_split": {"seed": 3}})["train_split"] == below["train_split"] | {"seed": 3}


def test_what_measures_a_run_has_its_parts(tmp_path, monkeypatch):
    """From another folder, with images dropped, and after the list has changed."""
    (tmp_path / "val.txt").write_text("\n".join(map(str, range(1, 200, 3))), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    one = experiment(
        tmp_path, train_split={"without_fold": "2/5"}, val_split={"fold": "2/5"}, drop=[0, 17, 500], seeds=[1]
    )
    two = experiment(tmp_path, val_split={"indices": "val.txt"}, train_split={"of": "train45k", "indices": "t.txt"})
    (tmp_path / "t.txt").write_text("\n".join(map(str, range(0, 900, 3))), encoding="utf-8")
    results = [run(prepare(each, load("synthetic")), each.seeds[0]) for each in (one, two)]
    (tmp_path / "val.txt").write_text("0", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for each, result in zip((one, two), results, strict=True):
        loaded = load_run(RunFolder.of(each, each.seeds[0]))
        metrics, _ = evaluate(loaded, measured_data(loaded, None, None), each.val_split)
        assert (metrics["n"], metrics["error"]) == (result.metrics["n"], pytest.approx(result.metrics["error"]))


def test_an_average_of_folds_names_no_split_of_the_first(tmp_path):
    folds = [
        experiment(
            tmp_path,
            train_split={"images": 400, "without_fold": f"{k}/2"},
            val_split={"images": 400, "fold": f"{k}/2"},
            train_parameters={
                "logdir": str(tmp_path),
                "run_name": f"fold{k}",
                "batch_size": 32,
                "schedule": {"kind": "constant", "learning_rate": 0.05, "duration": 2},
            },
        )
        for k in (1, 2)
    ]
    for one in folds:
        run(prepare(one, load("synthetic")), 0)
    files = [RunFolder.of(one, 0).path for one in folds]
    with pytest.raises(
        DataError, match="split: the files were trained on .*fold=1/2, .*fold=2/2; name a split that none"
    ):
        cifarzoo.average_weights(files, tmp_path / "mean.weights.h5")
    cifarzoo.average_weights(files, tmp_path / "mean.weights.h5", split="test", recompute=False)
    assert read_description(tmp_path / "mean.weights.h5").train_split is None


def test_a_run_trains_and_is_measured_on_them(tmp_path):
    np.save(tmp_path / "hard.npy", np.arange(0, 900, 3))
    one = experiment(
        tmp_path,
        train_split={"indices": str(tmp_path / "hard.npy")},
        val_split={"of": "train45k", "indices": str(tmp_path / "val.txt")},
        labels={"symmetric": 0.5},
    )
    (tmp_path / "val.txt").write_text("\n".join(map(str, range(1, 200, 3))), encoding="utf-8")
    job = prepare(one, load("synthetic"))
    results = run(job, 0)
    assert results.split == one.val_split and results.val_split == one.val_split
    assert results.metrics["n"] == 67 and results.training_images == 300
    content = json.loads(RunFolder.of(one, 0).results_path.read_text(encoding="utf-8"))
    assert content["validation"] == results.metrics and "test" not in content
    # The labels that measure it are clean, whatever it trains on.
    metrics, _ = evaluate(load_run(RunFolder.of(one, 0)), load("synthetic"), one.val_split)
    assert metrics["error"] == pytest.approx(results.metrics["error"])
    # Another list is another run.
    np.save(tmp_path / "hard.npy", np.arange(0, 900, 3)[:-1])
    assert run_again_is_refused(one)


def run_again_is_refused(one):
    from cifarzoo.errors import CheckpointError

    with pytest.raises(CheckpointError, match="hard.npy"):
        run(prepare(one, load("synthetic")), 0)
    return True
