"""Compare trained networks: their results over seeds, the settings that differ, and how sure the difference is."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cifarzoo.data import load
from cifarzoo.errors import CifarzooError, DataError
from cifarzoo.evaluation.evaluate import Progress, predict_splits
from cifarzoo.evaluation.measured_data import as_in_run, data_of
from cifarzoo.evaluation.subject import Subject, find_subject, of_run
from cifarzoo.experiment.differences import flatten, named_values
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import settings_of

# Settings that name or describe a run but do not affect its results.
NAMES = ("description", "seeds", "train_parameters.run_name")


@dataclass(frozen=True)
class Group:
    """One side of the comparison: one network, or all seeds of an experiment.

    Attributes:
        name: The experiment's name or the tag; the folder if the name would be ambiguous.
        subjects: The networks, one per seed.
    """

    name: str
    subjects: list[Subject]

    @property
    def errors(self) -> dict[int, float]:
        """The errors in percent by seed."""
        return {subject.seed: subject.metrics["error"] for subject in self.subjects}

    def as_row(self) -> dict[str, Any]:
        """Return `name`, `dataset`, `split`, `n`, means over seeds and the sample standard deviation of the error."""
        first, errors = self.subjects[0], list(self.errors.values())
        return {
            "name": self.name,
            "dataset": first.dataset,
            "split": first.split,
            "n": len(errors),
            "error_mean": statistics.fmean(errors),
            "error_std": statistics.stdev(errors) if len(errors) > 1 else None,
            "nll_mean": statistics.fmean(subject.metrics["nll"] for subject in self.subjects),
            "parameters": first.parameters,
            "steps": round(statistics.fmean(subject.trained["steps"] for subject in self.subjects)),
            "minutes_mean": statistics.fmean(subject.trained["seconds"] for subject in self.subjects) / 60,
        }


@dataclass(frozen=True)
class PairedTest:
    """A test of whether two networks or experiments have the same error.

    Attributes:
        first: Name of the first.
        second: Name of the second.
        kind: "paired t-test over seeds", "McNemar's test on images", or "none".
        n: Seeds or images.
        difference: Mean error of the second minus that of the first, in percentage points.
        low: Lower end of the difference's 95 % interval, None without one.
        high: Its upper end.
        p: Two-sided p-value; None without a test.
        remark: What the test says, or why there is none.
    """

    first: str
    second: str
    kind: str
    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    remark: str


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        groups: The groups, in the order of the arguments.
        settings: Per setting that differs, its key and its value in each group, None where it is not set.
        tests: Tests of each other group against the first.
    """

    groups: list[Group]
    settings: list[tuple[str, list[Any]]]
    tests: list[PairedTest]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "groups": [group.as_row() | {"errors": group.errors} for group in self.groups],
            "settings": [{"key": key, "values": values} for key, values in self.settings],
            "tests": [asdict(test) for test in self.tests],
        }


def compare(
    names: Sequence[str], data_dir: str | None = None, progress: Progress = lambda step, done: None
) -> Comparison:
    """Compare runs, experiments and published weights.

    If two groups share two or more seeds, a paired t-test over these compares their errors. Otherwise McNemar's test
    compares the predictions of one network of each on the split: those of the seed that they share, or the first ones.
    Both networks predict the split again.

    Args:
        names: Two or more: the folder of a run (logdir/run_name/seed0), that of an experiment with all its seeds
            (logdir/run_name), or the tag of published weights.
        data_dir: Folder of the archives, for McNemar's test.
        progress: Called with the name of the next step and the fraction done, from 0 to 1.

    Raises:
        CifarzooError: fewer than two names, an unknown name, or damaged files.
    """
    if len(names) < 2:
        raise DataError("compare: expected two or more runs, experiments or tags")
    subjects = [_subjects(name) for name in names]
    titles = [group[0].tag or group[0].name for group in subjects]
    groups = [
        Group(title if titles.count(title) == 1 else name, group)
        for name, title, group in zip(names, titles, subjects, strict=True)
    ]
    settings = differing_settings([group[0].config for group in subjects])
    tests = []
    for number, other in enumerate(groups[1:]):
        progress(f"{groups[0].name} and {other.name}", number / (len(groups) - 1))
        tests.append(_test(groups[0], other, data_dir))
    return Comparison(groups, settings, tests)


def _subjects(name: str) -> list[Subject]:
    """Return the finished runs that a name refers to: one, or all in an experiment's folder."""
    folder = Path(name)
    if not folder.is_dir() or RunFolder(folder).is_finished:
        return [find_subject(name)]
    runs = [run for run in RunFolder.finished_below(folder) if run.path.parent == folder]
    if not runs:
        raise DataError(f"{folder}: neither a finished run nor the folder of an experiment with finished seeds")
    if len({run.results().fingerprint for run in runs}) > 1:
        different = named_values(settings_of(runs))
        raise DataError(f"{folder}: its seeds are runs of different experiments{different}; name one run")
    return [of_run(run) for run in runs]


def differing_settings(configs: Sequence[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Return the settings that differ between experiments: dotted keys with one value per experiment."""
    flat = [flatten(config) for config in configs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key not in NAMES)
    rows = [(key, [settings.get(key) for settings in flat]) for key in keys]
    return [(key, values) for key, values in rows if any(value != values[0] for value in values)]


# ------------------------------------------------------------------------------------------------ tests


def _test(first: Group, second: Group, data_dir: str | None) -> PairedTest:
    a, b = first.subjects[0], second.subjects[0]
    names = first.name, second.name
    if (a.dataset, a.split) != (b.dataset, b.split):
        remark = f"measured on different images: {a.split} of {a.dataset}, {b.split} of {b.dataset}"
        return PairedTest(*names, "none", 0, b.metrics["error"] - a.metrics["error"], None, None, None, remark)
    common = sorted(first.errors.keys() & second.errors.keys())
    if len(common) > 1:
        return paired_t_test(*names, *([group.errors[seed] for seed in common] for group in (first, second)))
    if common:
        a, b = (next(one for one in group.subjects if one.seed == common[0]) for group in (first, second))
    try:
        test = _test_on_images(*names, a, b, data_dir)
    except CifarzooError as failure:
        difference, remark = b.metrics["error"] - a.metrics["error"], f"predictions cannot be compared: {failure}"
        test = PairedTest(*names, "none", 0, difference, None, None, None, remark)
    if len(first.subjects) == len(second.subjects) == 1:
        return test
    return replace(test, remark=f"seed {a.seed} and seed {b.seed}: {test.remark}")


def _test_on_images(first: str, second: str, a: Subject, b: Subject, data_dir: str | None) -> PairedTest:
    models = [subject.load() for subject in (a, b)]
    dataset = load(data_of(models[0], None), data_dir)
    predictions = [predict_splits(loaded, as_in_run(loaded, dataset), [a.split]) for loaded in models]
    labels, others = (each.labels[a.split] for each in predictions)
    if not np.array_equal(labels, others):
        raise DataError("the runs have other test labels")
    wrong = [each.logits[a.split].argmax(axis=1) != labels for each in predictions]
    return mcnemar_test(first, second, *wrong)


def paired_t_test(first: str, second: str, errors: Sequence[float], others: Sequence[float]) -> PairedTest:
    """Compare the errors of two experiments by a two-sided paired t-test; each pair has the same seed.

    Args:
        first: Name of the first experiment.
        second: Name of the second.
        errors: The errors of the first in percent, two or more.
        others: The errors of the second, in the same order of seeds.
    """
    from scipy import stats

    differences = np.subtract(others, errors)
    kind, n, mean = "paired t-test over seeds", len(differences), float(differences.mean())
    if np.ptp(differences) < 1e-9:
        return PairedTest(first, second, kind, n, mean, None, None, None, "the same difference for every seed")
    result = stats.ttest_rel(others, errors)
    low, high = (float(end) for end in result.confidence_interval(0.95))
    remark = "assumes that differences are normally distributed" + ("; few seeds, wide interval" if n < 5 else "")
    return PairedTest(first, second, kind, n, mean, low, high, float(result.pvalue), remark)


def mcnemar_test(first: str, second: str, wrong: np.ndarray, other_wrong: np.ndarray) -> PairedTest:
    """Compare two networks by the images that only one of them gets wrong (McNemar, 1947; exact binomial test).

    Args:
        first: Name of the first network.
        second: Name of the second.
        wrong: Whether the first is wrong, bool [images].
        other_wrong: Whether the second is wrong, bool [images].
    """
    from scipy import stats

    only_first, only_second = int(np.sum(wrong & ~other_wrong)), int(np.sum(~wrong & other_wrong))
    disagreements, n = only_first + only_second, len(wrong)
    p = float(stats.binomtest(only_first, disagreements).pvalue) if disagreements else 1.0
    difference = 100 * (only_second - only_first) / n
    # The standard error of the difference of two proportions on the same images.
    error = 100 * np.sqrt(disagreements - (only_second - only_first) ** 2 / n) / n
    remark = (
        f"only the first network misclassifies {only_first} images, only the second {only_second}; the test is about "
        "these two networks: other seeds may differ by more"
    )
    low, high = difference - 1.96 * error, difference + 1.96 * error
    return PairedTest(first, second, "McNemar's test on images", n, difference, float(low), float(high), p, remark)
