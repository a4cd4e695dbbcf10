"""Other labels than the data set's own: noise, files and dropped images; no network is trained here."""

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cifarzoo.data import Dataset, Split
from cifarzoo.data.classes import CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_SUPERCLASSES
from cifarzoo.data.labels import asymmetric_noise, changed, checked_labels, pair_targets, symmetric_noise
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from
from cifarzoo.experiment.merging import merge
from cifarzoo.metrics import soft_cross_entropy
from cifarzoo.runs.folder import RunFolder
from cifarzoo.strict_yaml import parse
from cifarzoo.training.job import prepare
from cifarzoo.training.sources import sources_of
from cifarzoo.training.training_data import describe_changes, training_data

IMAGES, TEST, CLASSES = 400, 60, 10
CLEAN = np.random.RandomState(0).randint(0, CLASSES, 50_000).astype(np.int32)


@pytest.fixture(scope="module")
def dataset():
    images = np.zeros((IMAGES, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(IMAGES) % 256
    labels = np.arange(IMAGES, dtype=np.int32) % CLASSES
    return Dataset("own", CIFAR10_CLASSES, None, Split(images, labels), Split(images[:TEST], labels[:TEST]))


def experiment(folder=None, **keys):
    return experiment_from(
        [{"model": "cifar_resnet20", "train_parameters": {"batch_size": 8}, **keys}],
        "e.yaml, document 1",
        [folder] if folder else [],
    )


def matrix_of(noisy, classes=CLASSES):
    """The share of each label (columns) among the images of each class (rows)."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (CLEAN, noisy), 1)
    return counts / counts.sum(1, keepdims=True)


# ------------------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize("include_true", [False, True])
def test_symmetric_noise_has_the_stated_transition_matrix(include_true):
    """Five standard deviations of 5,000 images per class."""
    rate = 0.4
    noisy = symmetric_noise(CLEAN, CLASSES, rate, 7, include_true)
    other = rate / CLASSES if include_true else rate / (CLASSES - 1)
    expected = np.full((CLASSES, CLASSES), other)
    np.fill_diagonal(expected, 1 - (CLASSES - 1) * other)
    assert np.abs(matrix_of(noisy) - expected).max() < 5 * np.sqrt(rate * (1 - rate) / 4_800)
    assert noisy.dtype == np.int32


def test_all_labels_change_at_rate_one_and_none_at_zero():
    assert (symmetric_noise(CLEAN, CLASSES, 1.0) != CLEAN).all()
    assert (symmetric_noise(CLEAN, CLASSES, 0.0) == CLEAN).all()
    assert set(symmetric_noise(CLEAN, CLASSES, 1.0)) == set(range(CLASSES))


def test_noise_depends_on_seed_and_position_alone():
    whole = symmetric_noise(CLEAN, CLASSES, 0.4, 3)
    assert (symmetric_noise(CLEAN[:100], CLASSES, 0.4, 3) == whole[:100]).all()
    assert (symmetric_noise(CLEAN, CLASSES, 0.4, 4) != whole).mean() > 0.3
    # More noise keeps the labels that less noise changed.
    more = symmetric_noise(CLEAN, CLASSES, 0.6, 3)
    assert (more == whole)[whole != CLEAN].all()


def test_noise_never_changes_between_versions():
    labels = np.zeros(12, np.int32)
    assert symmetric_noise(labels, 10, 0.5, 0).tolist() == FROZEN


FROZEN = [0, 2, 0, 0, 0, 7, 0, 3, 2, 4, 0, 3]


def test_asymmetric_noise_of_cifar10_is_patrinis():
    noisy = asymmetric_noise(CLEAN, pair_targets(None, "cifar10", CIFAR10_CLASSES), 0.3, 1)
    expected = np.eye(CLASSES)
    index = CIFAR10_CLASSES.index
    for old, new in [("truck", "automobile"), ("bird", "airplane"), ("deer", "horse"), ("cat", "dog"), ("dog", "cat")]:
        expected[index(old), index(old)], expected[index(old), index(new)] = 0.7, 0.3
    assert np.abs(matrix_of(noisy) - expected).max() < 5 * np.sqrt(0.3 * 0.7 / 4_800)
    assert (matrix_of(noisy) > 0).sum() == 15


def test_asymmetric_noise_of_cifar100_goes_around_within_superclasses():
    targets = pair_targets(None, "cifar100", CIFAR100_CLASSES)
    superclasses = np.array(CIFAR100_SUPERCLASSES)
    assert (superclasses[targets] == superclasses).all() and sorted(targets) == list(range(100))
    around = np.arange(100)
    for step in range(1, 6):
        around = targets[around]
        assert (around == np.arange(100)).all() == (step == 5)
    name = CIFAR100_CLASSES.index
    assert targets[name("beaver")] == name("dolphin") and targets[name("whale")] == name("beaver")


# ------------------------------------------------------------------------------------------------ data sets


def test_only_training_labels_change_and_the_same_in_both_training_splits(dataset):
    noisy = training_data(experiment(labels={"symmetric": 0.5}), dataset)
    train, part = noisy.split("train"), noisy.split("train45k")
    positions = dataset.positions("train45k")
    assert (part.labels == train.labels[positions]).all()
    assert (part.clean_labels == dataset.train.labels[positions]).all()
    assert changed(train) == (train.labels != dataset.train.labels).sum() > IMAGES // 3
    # The parts are those of the clean labels, and held-out labels are clean.
    assert (noisy.positions("validation") == dataset.positions("validation")).all()
    assert (noisy.split("validation").labels == dataset.split("validation").labels).all()
    assert noisy.split("validation").soft_labels is None
    assert noisy.test is dataset.test


def test_dropped_images_leave_every_split_that_had_them(dataset, tmp_path):
    dropped = [0, 5, IMAGES - 1, IMAGES - 1]  # the last one is of validation
    (tmp_path / "drop.txt").write_text("\ufeff# positions\n0\n5 # a comment\n\n399\n", encoding="utf-8")
    np.save(tmp_path / "drop.npy", np.array(dropped, np.uint16))
    for drop in (dropped, "drop.txt", "drop.npy"):
        fewer = training_data(experiment(tmp_path, drop=drop, labels={"symmetric": 0.5}), dataset)
        kept = np.setdiff1d(np.arange(IMAGES), dropped)
        noisy = training_data(experiment(labels={"symmetric": 0.5}), dataset)
        assert (fewer.train.images == dataset.train.images[kept]).all()
        assert (fewer.train.labels == noisy.train.labels[kept]).all()
        for part in ("train45k", "validation"):
            positions = np.setdiff1d(dataset.positions(part), dropped)
            assert (fewer.split(part).images == dataset.train.images[positions]).all()
        assert (fewer.split("validation").labels == fewer.train.clean_labels[fewer.positions("validation")]).all()
        assert fewer.size("train") == IMAGES - 3 and fewer.size("test") == TEST


def torch_file(path, content):
    """Write what `torch.save` writes for arrays, as CIFAR-10N's files hold them."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
        archive.writestr("archive/version", "3\n")


def test_labels_are_read_from_every_kind_of_file(dataset, tmp_path):
    clean = dataset.train.labels.astype(np.int64)
    worse = (clean + (np.arange(IMAGES) % 3 == 0)) % CLASSES
    np.save(tmp_path / "worse.npy", worse[:, None].astype(np.uint8))  # a column, as of Keras' data sets
    np.savez(tmp_path / "human.npz", worse_label=worse, clean_label=clean)
    torch_file(tmp_path / "human.pt", {"clean_label": clean, "aggre_label": clean, "worse_label": worse})
    for labels in (
        "worse.npy",
        {"file": "human.npz", "key": "worse_label"},
        {"file": "human.pt", "key": "worse_label"},
    ):
        one = experiment(tmp_path, labels=labels)
        data = training_data(one, dataset)
        assert (data.train.targets == worse).all() and data.train.targets.dtype == np.int32
        assert describe_changes(one, data) == "134 of 400 training labels (33.5 %) differ from the data set's own"
        assert len(sources_of(one, 0)) == 1


def test_labels_in_another_order_are_noticed(dataset, tmp_path):
    np.save(tmp_path / "shuffled.npy", np.random.RandomState(1).permutation(dataset.train.labels))
    one = experiment(tmp_path, labels="shuffled.npy")
    assert describe_changes(one, training_data(one, dataset)).endswith("That of TFDS is another")


def test_soft_labels_are_probabilities_or_counts(dataset, tmp_path):
    counts = np.ones((TEST, CLASSES), np.int64)
    counts[np.arange(TEST), dataset.test.labels] = 41
    np.save(tmp_path / "counts.npy", counts)
    soft = np.full((IMAGES, CLASSES), 0.05, np.float16)
    soft[np.arange(IMAGES), (dataset.train.labels + 1) % CLASSES] = 0.55
    np.save(tmp_path / "soft.npy", soft)
    data = training_data(experiment(tmp_path, labels={"train": "soft.npy", "test": "counts.npy"}), dataset)
    assert data.train.targets.shape == (IMAGES, CLASSES) and data.train.targets.dtype == np.float32
    np.testing.assert_allclose(data.train.targets.sum(1), 1, rtol=1e-6)
    assert (data.train.labels == (dataset.train.labels + 1) % CLASSES).all() and changed(data.train) == IMAGES
    np.testing.assert_allclose(data.test.targets, counts / 50, rtol=1e-6)
    assert (data.test.labels == dataset.test.labels).all()
    logits = np.log(counts / 50)
    entropy = -(0.82 * np.log(0.82) + 9 * 0.02 * np.log(0.02))
    assert abs(soft_cross_entropy(logits, data.test.soft_labels) - entropy) < 1e-6


def test_probabilities_of_three_decimals_are_accepted():
    rows = np.random.RandomState(0).dirichlet(np.ones(100), 5000).round(3)
    assert abs(rows.sum(axis=1) - 1).max() > 0.01
    _, soft = checked_labels(rows, 5000, 100)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)


def test_dropping_all_of_validation_says_so(dataset):
    dropped = dataset.positions("validation").tolist()
    one = experiment(drop=dropped, train_split="train45k", val_split="validation", backend="tensorflow")
    with pytest.raises(ExperimentError, match="drop: leaves no images of validation"):
        prepare(one, dataset)


def test_the_lines_of_the_page_are_valid():
    page = (Path(__file__).parents[1] / "docs" / "labels.md").read_text(encoding="utf-8")
    lines = page.partition("```yaml\n")[2].partition("```")[0].splitlines()
    documents = [parse(line, "docs/labels.md") for line in lines]
    assert len(documents) == 6 and all(len(document) == 1 for document in documents)
    for document in documents:
        experiment(**document)


# ---------------------------------------------------------------------------------------------------- mistakes

WRONG = [
    ({"labels": 3}, "labels: expected a mapping, got 3"),
    ({"labels": {"symmetric": 1.5}}, "labels.symmetric: must be at most 1, got 1.5"),
    ({"labels": {"symmetric": True}}, "labels.symmetric: expected a number, got true"),
    ({"labels": {"symetric": 0.4}}, "labels.symetric: unknown key; did you mean symmetric or asymmetric?"),
    (
        {"labels": {"symmetric": 0.4, "pairs": {"cat": "dog"}}},
        "labels: expected only one of a file, .* got {'symmetric': 0.4, ",
    ),
    ({"labels": {"seed": 3}}, "labels: expected only one of a file, {file, key}, .* got {'seed': 3}"),
    ({"labels": {"symmetric": 0.4, "seed": -1}}, "labels.seed: must be at least 0, got -1"),
    ({"labels": {"asymmetric": 0.4}}, "labels.pairs: own has none by default; write pairs: {FROM: TO, ...} of classes"),
    (
        {"labels": {"asymmetric": 0.4, "pairs": {"cat": "mouse"}}},
        "labels.pairs: expected classes .*, got 'mouse': airp",
    ),
    ({"labels": {"asymmetric": 0.4, "pairs": {"cat": 10}}}, "labels.pairs: expected .* from 0 to 9, got 10"),
    (
        {"labels": {"asymmetric": 0.4, "pairs": {"cat": 1.5}}},
        "labels.pairs.cat: expected the name or number of a class",
    ),
    (
        {"labels": {"asymmetric": 0.4, "pairs": [[3]]}},
        "labels.pairs: expected {FROM: TO, ...} of classes, or a list of",
    ),
    ({"labels": {"asymmetric": 0.4, "pairs": [[[3], 4]]}}, "labels.pairs: expected the names or numbers of classes"),
    (
        {"labels": {"asymmetric": 0.4, "pairs": {"cat": "dog", 3: 4}}},
        "labels.pairs: cat and 3 are the same class; write",
    ),
    ({"labels": {"asymmetric": 0.4, "pairs": {"cat": 3}}}, "labels.pairs: cat is paired with itself; leave it out"),
    ({"labels": {"asymmetric": 0.4, "pairs": []}}, r"labels.pairs: expected at least 1 value\(s\)"),
    ({"labels": {"train": {"key": "a"}}}, "labels.train.file: missing, but required"),
    ({"labels": "none.npy"}, "labels: none.npy: does not exist or is not a file"),
    ({"labels": "short.npy"}, r"labels: short.npy: expected integers \[400\], or .* \[400, 10\], got int64 \[399\]"),
    ({"labels": "high.npy"}, "labels: high.npy: labels are from 0 to 9, got 10 for image 3"),
    ({"labels": "float.npy"}, "labels: float.npy: expected .*, got float64 .*; convert whole numbers to int"),
    ({"labels": "text.npy"}, "labels: text.npy: expected integers .* got <U21"),
    ({"labels": "objects.npy"}, "labels: objects.npy: damaged, or not an array of numbers"),
    ({"labels": "claims.npy"}, "labels: claims.npy: damaged, or not an array of numbers"),
    ({"labels": "page.npy"}, "labels: page.npy: is a web page"),
    (
        {"labels": "sums.npy"},
        r"labels: sums.npy: probabilities are at least 0 and sum to 1 per image, got \[0.2, 0, 0.*2",
    ),
    ({"labels": "nan.npy"}, "labels: nan.npy: probabilities .* got .*nan.* for image 0"),
    (
        {"labels": "none_seen.npy"},
        "labels: none_seen.npy: counts are at least 0 and not all 0 per image, .* for image 4",
    ),
    ({"labels": {"test": "short.npy"}}, r"labels.test: short.npy: expected integers \[60\]"),
    ({"labels": "two.npz"}, "labels: two.npz: has a, b; write {file: two.npz, key: ONE_OF_THEM}"),
    ({"labels": {"file": "two.npz", "key": "c"}}, "labels: two.npz: has no array 'c': it has a, b"),
    ({"labels": {"file": "high.npy", "key": "c"}}, "labels: high.npy: has no array 'c': it is a single array; leave"),
    (
        {"labels": {"file": "order.pt", "key": "worse"}},
        "labels: order.pt: its clean_label differs .* for 400 of 400 .*TFDS",
    ),
    ({"labels": {"file": "code.pt", "key": "a"}}, "labels: code.pt: contains posix.system, which is not a tensor"),
    ({"drop": 3}, "drop: expected a list of positions, or a .npy or .txt file of them, got 3"),
    ({"drop": []}, r"drop: expected at least 1 value\(s\), got \[\]"),
    ({"drop": "empty.txt"}, "drop: empty.txt: lists no positions"),
    ({"labels": {"file": "fine.pt", "key": "worse"}}, "labels: fine.pt: its clean_label has classes up to 99, .* at 9"),
    ({"drop": [1, -1]}, r"drop\[1\]: must be at least 0, got -1"),
    ({"drop": [1, 400]}, "drop: positions are from 0 to 399, got 400"),
    ({"drop": "none.txt"}, "drop: none.txt: does not exist or is not a file"),
    ({"drop": "words.txt"}, "drop: words.txt: line 2: expected a whole number, got 'two'"),
    ({"drop": "float.npy"}, r"drop: float.npy: expected a .npy file of integers \[n\], or .*, got float64 \[400\]"),
    ({"drop": "two.npz"}, "drop: expected a list of positions, or a .npy or .txt file of them, got 'two.npz'"),
    ({"drop": "zip.npy"}, "drop: zip.npy: expected a .npy file of integers .*, got several arrays"),
    ({"drop": list(range(400))}, "drop: leaves no images of train45k, of 400 training images"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("labels")
    labels = dataset.train.labels.astype(np.int64)
    soft = np.eye(CLASSES)[labels]
    np.save(folder / "short.npy", labels[:-1])
    np.save(folder / "high.npy", np.where(np.arange(IMAGES) == 3, 10, labels))
    np.save(folder / "float.npy", labels.astype(float))
    np.save(folder / "text.npy", labels.astype(str))
    np.save(folder / "objects.npy", labels.astype(object), allow_pickle=True)
    np.save(folder / "sums.npy", soft * np.where(np.arange(IMAGES) == 20, 0.2, 1)[:, None])
    np.save(folder / "nan.npy", soft * np.nan)
    np.save(folder / "none_seen.npy", (soft * (np.arange(IMAGES) != 4)[:, None]).astype(int))
    np.savez(folder / "two.npz", a=labels, b=labels)
    shutil.copy(folder / "two.npz", folder / "zip.npy")
    torch_file(folder / "order.pt", {"clean_label": (labels + 1) % CLASSES, "worse": labels})
    (folder / "page.npy").write_text("<!doctype html><p>404</p>", encoding="utf-8")
    (folder / "words.txt").write_text("1\ntwo\n", encoding="utf-8")
    (folder / "empty.txt").write_text("# none\n", encoding="utf-8")
    torch_file(folder / "fine.pt", {"clean_label": np.arange(IMAGES) % 100, "worse": labels})
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (2**50,)})
    (folder / "claims.npy").write_bytes(header.getvalue() + bytes(100))
    with zipfile.ZipFile(folder / "code.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cposix\nsystem\nU\x04trueR.")
    return folder


@pytest.mark.parametrize(("keys", "message"), WRONG, ids=[str(keys)[:60] for keys, _ in WRONG])
def test_every_mistake_is_one_line(keys, message, dataset, folder):
    with pytest.raises(ExperimentError, match=message) as caught:
        training_data(experiment(folder, **keys), dataset)
    text = str(caught.value)
    assert "\n" not in text and text.startswith("e.yaml, document 1") and len(text) < 400


def test_pairs_of_names_and_numbers_survive_the_document_of_a_run(tmp_path, dataset):
    """Text and numbers stay apart, because a class may have a number as its name."""
    for pairs in ({"truck": "automobile", 3: 5}, {"truck": "automobile"}, {0: 1, "1": 0}):
        one = experiment(labels={"asymmetric": 0.4, "pairs": pairs})
        folder = RunFolder(tmp_path)
        folder.write_config(one)
        again = folder.experiment()
        assert again.labels.pairs == pairs and again.fingerprint() == one.fingerprint()
    by_name = experiment(labels={"asymmetric": 0.4, "pairs": {"1": 0}})
    assert by_name.fingerprint() != experiment(labels={"asymmetric": 0.4, "pairs": {1: 0}}).fingerprint()


# ------------------------------------------------------------------------------------------------ fingerprints


def test_fingerprints_depend_on_labels_and_dropped_images_and_on_nothing_new():
    plain = experiment()
    assert "labels" not in plain.decisive() and "drop" not in plain.decisive()
    others = [experiment(labels={"symmetric": 0.4}), experiment(labels={"symmetric": 0.4, "seed": 1})]
    others += [experiment(labels="a.npy"), experiment(drop=[3])]
    assert len({one.fingerprint() for one in [plain, *others]}) == 5
    # Only the keys of the document count, so that a new option leaves old fingerprints.
    assert others[0].decisive()["labels"] == {"symmetric": 0.4}
    assert others[2].decisive()["labels"] == {"file": "a.npy"}


def test_a_changed_file_is_another_source(tmp_path, dataset):
    np.save(tmp_path / "labels.npy", dataset.train.labels)
    one = experiment(tmp_path, labels="labels.npy")
    before, data = sources_of(one, 0), training_data(one, dataset)
    assert set(before) == {"labels.npy"} and changed(data.train) == 0
    np.save(tmp_path / "labels.npy", (dataset.train.labels + 1) % CLASSES)
    assert sources_of(one, 0)["labels.npy"] != before["labels.npy"]
    assert changed(training_data(one, dataset).train) == IMAGES


def test_networks_normalize_superclasses_like_the_classes():
    from cifarzoo.pretrained.description import description_of
    from cifarzoo.training.build import build_model

    model = build_model(experiment(dataset="cifar100_coarse"), 20, 0)
    assert description_of(model).statistics == "cifar100" and model.output_shape == (None, 20)


def test_other_noise_replaces_that_of_a_recipe():
    assert merge({"labels": {"symmetric": 0.4}}, {"labels": {"seed": 2}}) == {"labels": {"symmetric": 0.4, "seed": 2}}
    replaced = merge({"labels": {"symmetric": 0.4, "seed": 1}}, {"labels": {"asymmetric": 0.2}})
    assert replaced == {"labels": {"asymmetric": 0.2}}
