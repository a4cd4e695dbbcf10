"""Tests of a policy list against a uniform one, which the list of a failed search resembles.

The list that Fast AutoAugment published for CIFAR-10 passes them: its operations, probabilities and levels are those of
random policies (https://github.com/kakaobrain/fast-autoaugment/issues/46).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cifarzoo.search.objectives import SubPolicy
from cifarzoo.search.space import UNGRADED


def uniformity(policies: Sequence[SubPolicy], operations: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Test whether a list looks like one of random operations, probabilities and levels.

    Args:
        policies: Sub-policies of two operations, each a name, a probability and a level.
        operations: The names from which they were chosen.

    Returns:
        `operations`: Pearson's chi-square of the operations' counts with its `degrees_of_freedom`; `probabilities` and
        `levels`: the Kolmogorov-Smirnov distance from the uniform distribution on [0, 1] and its `n`, the levels
        without those that have no effect. Each has the p-value `p`. A list whose levels lie on a grid, or whose
        probabilities are fixed, is not uniform.
    """
    from scipy import stats

    chosen = [operation for sub_policy in policies for operation in sub_policy]
    counts = Counter(name for name, _, _ in chosen)
    square, p = stats.chisquare([counts[name] for name in operations]) if len(operations) > 1 else (0.0, 1.0)
    result: dict[str, dict[str, Any]] = {
        "operations": {"chi_square": float(square), "degrees_of_freedom": len(operations) - 1, "p": float(p)}
    }
    values = {
        "probabilities": [probability for _, probability, _ in chosen],
        "levels": [level for name, _, level in chosen if name not in UNGRADED],
    }
    for name, numbers in values.items():
        distance, p = stats.kstest(numbers, "uniform") if numbers else (0.0, 1.0)
        result[name] = {"ks": float(distance), "n": len(numbers), "p": float(p)}
    return result
