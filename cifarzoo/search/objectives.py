"""What makes a policy good: the objectives, all of which read the same tables, and the lists that they select.

* `official`: that of Fast AutoAugment's code, not of its paper: an image counts as right if any of five draws is, of a
  policy of five sub-policies. TPE looks for it, as in the paper (K folds, T rounds, B samples, the N best of each).
* `mean`: the mean loss, as in the paper. It is bilinear in the probabilities, so that it is lowest at a corner, mostly
  near "do nothing". A control that shows what this objective asks for.
* `band`: of the sub-policies that cost at most a few points of accuracy, those with the largest loss. Gontijo-Lopes et
  al. (https://arxiv.org/abs/2002.08973) ask for high affinity and high diversity; affinity is this accuracy, but their
  diversity is the loss on images that the network trains on, and here both are measured on held-out ones.
* `uniform`: random sub-policies, without any table.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

import numpy as np

from cifarzoo.errors import ExperimentError
from cifarzoo.extras import install_command
from cifarzoo.search.plan import SUB_POLICIES, Selection
from cifarzoo.search.space import Space
from cifarzoo.search.table import Table, bilinear

SubPolicy = tuple[tuple[str, float, float], ...]
# Draws per image of `official`, of which any has to be right.
DRAWS = 5
# Random samples before TPE begins, and candidates per sample: those of hyperopt, which Fast AutoAugment's code uses.
# The share of good samples is Optuna's, a tenth: hyperopt's, a quarter of their root, needs a deprecated argument.
RANDOM_STARTS, CANDIDATES = 20, 24
# Decimal places of sampled probabilities and levels, so that a list is short to read.
DIGITS = 4
# For shares of images that differ by rounding only.
TOLERANCE = 1e-9


def select(
    objective: str,
    space: Space,
    tables: Sequence[Table],
    selection: Selection,
    seed: int = 0,
    progress: Callable[[float], None] = lambda done: None,
) -> list[SubPolicy]:
    """Return the sub-policies that an objective selects, `((name, probability, level), (name, probability, level))`.

    Args:
        objective: One of `plan.OBJECTIVES`.
        space: The transformations.
        tables: One per fold; none are needed for `uniform`.
        selection: How many, and how.
        seed: Of the search; the samplers depend on it and on `selection.seed`.
        progress: Called with the fraction done.

    Raises:
        ExperimentError: Optuna is missing, or no sub-policy is good enough for `band`.
    """
    if objective == "uniform":
        return _uniform(space, selection, seed)
    if objective == "official":
        return _official(space, tables, selection, seed, progress)
    loss, accuracy = (np.mean([getattr(table, name) for table in tables], axis=0) for name in ("loss", "accuracy"))
    return _mean(space, loss, selection) if objective == "mean" else _band(space, loss, accuracy, selection)


def unchanged(tables: Sequence[Table]) -> dict[str, float]:
    """Return the networks' `loss` in nats and `accuracy` in percent on images without augmentation."""
    loss, accuracy = (np.mean([getattr(table, name)[0, 0] for table in tables]) for name in ("loss", "accuracy"))
    return {"loss": float(loss), "accuracy": 100 * float(accuracy)}


def expected(space: Space, tables: Sequence[Table], policies: Sequence[SubPolicy]) -> dict[str, float]:
    """Return what the tables expect of a list: `loss` in nats and `accuracy` in percent, of one draw per image."""
    (first, p), (second, q) = (
        (
            np.array([space.cell(name, level) for name, _, level in chosen]),
            np.array([probability for _, probability, _ in chosen]),
        )
        for chosen in zip(*policies, strict=True)
    )
    losses = [bilinear(table.loss, first, p, second, q).mean() for table in tables]
    accuracies = [bilinear(table.accuracy, first, p, second, q).mean() for table in tables]
    return {"loss": float(np.mean(losses)), "accuracy": 100 * float(np.mean(accuracies))}


def reward(table: Table, policy: Sequence[tuple[int, float, int, float]], numbers: np.ndarray) -> float:
    """Return the share of images of which any draw is recognized.

    Args:
        table: The table.
        policy: Sub-policies: first transformation and its probability, second transformation and its probability.
        numbers: What decides each draw of each image, in [0, 1): the sub-policy, and whether its operations apply,
            [draws, images, 3].
    """
    first, p, second, q = (np.array(column) for column in zip(*policy, strict=True))
    chosen = (numbers[..., 0] * len(policy)).astype(int)
    before = np.where(numbers[..., 1] < p[chosen], first[chosen], 0)
    after = np.where(numbers[..., 2] < q[chosen], second[chosen], 0)
    right = table.correct[before, after, np.arange(numbers.shape[1])]
    return float(right.any(axis=0).mean())


def _official(space, tables, selection, seed, progress):
    optuna = _optuna()
    policies: list[SubPolicy] = []
    searches = list(itertools.product(enumerate(tables, start=1), range(selection.rounds)))
    for number, ((fold, table), turn) in enumerate(searches):
        random = _random(seed, selection, fold, turn)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=RANDOM_STARTS,
            n_ei_candidates=CANDIDATES,
            multivariate=False,  # as in hyperopt
            seed=random.randint(2**31),
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        results = []
        for sample in range(selection.samples):
            trial = study.ask()
            candidate = [_suggest(trial, space, str(place)) for place in range(SUB_POLICIES)]
            numbers = random.random_sample((DRAWS, table.correct.shape[-1], 3))
            value = reward(table, [_in_cells(space, sub_policy) for sub_policy in candidate], numbers)
            study.tell(trial, value)
            results.append((-value, sample, candidate))
            progress((number + (sample + 1) / selection.samples) / len(searches))
        best = sorted(results, key=lambda result: result[:2])[: selection.best]
        policies += [sub_policy for _, _, candidate in best for sub_policy in _without_repeated_pairs(candidate)]
    return policies


def _random(seed: int, selection: Selection, fold: int = 0, turn: int = 0) -> np.random.RandomState:
    """Return the random numbers of one search; fold 0 stands for no fold."""
    return np.random.RandomState([seed, selection.seed, fold, turn])


def _in_cells(space, sub_policy):
    (first, p, level), (second, q, other) = sub_policy
    return space.cell(first, level), p, space.cell(second, other), q


def _without_repeated_pairs(policy: Sequence[SubPolicy]) -> Iterator[SubPolicy]:
    """Yield the sub-policies of a policy without those whose operations are the same, in order, as an earlier one's."""
    seen = set()
    for sub_policy in policy:
        names = tuple(name for name, _, _ in sub_policy)
        if names not in seen:
            yield sub_policy
        seen.add(names)


def _mean(space, loss, selection):
    choices = []
    for first, second in _pairs(space):
        corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
        losses = [float(loss[first * p, second * q]) for p, q in corners]
        lowest = int(np.argmin(losses))
        choices.append((losses[lowest], first, second, *corners[lowest]))
    choices.sort()
    return [_sub_policy(space, first, second, p, q) for _, first, second, p, q in choices[: selection.size]]


def _band(space, loss, accuracy, selection):
    floor = accuracy[0, 0] - selection.fall / 100 - TOLERANCE
    groups: dict[tuple[int, int], list] = {}
    for first, second in _pairs(space):
        if accuracy[first, second] >= floor:
            names = int(space.operation_numbers[first]), int(space.operation_numbers[second])
            groups.setdefault(names, []).append((-float(loss[first, second]), first, second))
    if not groups:
        raise ExperimentError(
            f"selection.fall: no sub-policy keeps the accuracy within {selection.fall:g} points of "
            f"{100 * accuracy[0, 0]:.2f} %; allow more"
        )
    # In turns, so that one harmful pair of operations does not fill the list.
    turns = itertools.zip_longest(*(sorted(group) for group in groups.values()))
    chosen = [choice for turn in turns for choice in sorted(filter(None, turn))]
    return [_sub_policy(space, first, second, 1, 1) for _, first, second in chosen[: selection.size]]


def _uniform(space, selection, seed):
    optuna = _optuna()
    sampler = optuna.samplers.RandomSampler(seed=_random(seed, selection).randint(2**31))
    study = optuna.create_study(sampler=sampler)
    return [_suggest(study.ask(), space, "") for _ in range(selection.size)]


def _pairs(space):
    """Return the pairs of transformations that change something."""
    return itertools.product(range(1, len(space)), repeat=2)


def _sub_policy(space, first, second, p, q):
    return tuple(
        (name, float(probability), level)
        for (name, level), probability in ((space.cells[first], p), (space.cells[second], q))
    )


def _suggest(trial, space, prefix) -> SubPolicy:
    return tuple(
        (
            trial.suggest_categorical(f"{prefix}operation{slot}", space.operations),
            round(trial.suggest_float(f"{prefix}probability{slot}", 0, 1), DIGITS),
            round(trial.suggest_float(f"{prefix}level{slot}", 0, 1), DIGITS),
        )
        for slot in range(2)
    )


def check_packages() -> None:
    """Import what selects and tests lists.

    Raises:
        ExperimentError: it is not installed, or damaged.
    """
    for name, package, what in (("optuna", "Optuna", "samples policies"), ("scipy", "SciPy", "tests lists")):
        try:
            import_module(name)
        except ImportError as failure:
            raise ExperimentError(
                f"{package}, which {what}, cannot be imported ({failure}): {install_command('search')}"
            ) from None


def _optuna():
    """Import Optuna, and keep it from logging every trial.

    Raises:
        ExperimentError: it is not installed.
    """
    check_packages()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
