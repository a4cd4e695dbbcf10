"""Estimators of a loss function's curvature, with their errors."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from cifarzoo.errors import ModelError
from cifarzoo.evaluation.sharpness.loss_function import LossFunction

TRACES = ("hessian_trace", "fisher_trace", "ntk_trace")
# With fewer samples a standard error is too uncertain to decide when to stop.
LEAST_SAMPLES = 10


@dataclass(frozen=True)
class Estimate:
    """An estimate and how far to trust it.

    Attributes:
        value: The estimate.
        standard_error: For a trace, its standard deviation over draws of the probes, estimated from the samples. For an
            eigenvalue, the norm of H v - value * v: an eigenvalue lies within this distance. None if there is no such
            bound.
        products: Number of calls on one chunk of images.
        converged: Whether the requested precision was reached.
        vector: The unit eigenvector, or the displacement with the largest loss found.
    """

    value: float
    standard_error: float | None
    products: int
    converged: bool
    vector: np.ndarray | None = field(default=None, repr=False, compare=False)

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate of `factor` times the value."""
        error = None if self.standard_error is None else abs(factor) * self.standard_error
        return Estimate(factor * self.value, error, self.products, self.converged, self.vector)


def rademacher(count: int, *seed: int) -> np.ndarray:
    """Draw random signs, int8 [count], that depend on the seed only."""
    bits = np.frombuffer(np.random.default_rng(seed).bytes(-(-count // 8)), np.uint8)
    return (2 * np.unpackbits(bits, count=count).astype(np.int8) - 1).astype(np.int8)


def estimate_traces(
    loss_function: LossFunction,
    measures: Iterable[str] = TRACES,
    precision: float = 0.05,
    max_products: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Estimate traces with Rademacher probes until each reaches a relative precision.

    This is Hutchinson's estimator (https://doi.org/10.1080/03610919008812866). Each chunk of images gets its own probe
    in each round: the trace over all images is the mean of the chunks' traces, and independent errors average out, so
    that a pass over many chunks yields far more than one probe shared by all. One pass yields all three traces.

    The standard error is that of the weighted mean over chunks, from the variance of each chunk's own samples. After a
    single round it comes from the variance between chunks, which includes real differences between them, and so is
    rather too large than too small.

    Args:
        loss_function: The loss over the images.
        measures: Some of `TRACES`. Without the Hessian a probe costs less than half.
        precision: Stop when each standard error is at most this share of its value; checked at the end of a round, from
            ten samples on.
        max_products: Stop at the end of the round that reaches this number of calls on a chunk.
        seed: Seed of the probes.

    Returns:
        One estimate per measure: `hessian_trace` of the mean loss with the weight-decay term; `fisher_trace` and
        `ntk_trace` as means over images.

    Raises:
        ModelError: a measure does not exist, or the precision is not positive.
        DataError: a derivative is not finite.
    """
    measures = list(measures)
    if unknown := [name for name in measures if name not in TRACES]:
        raise ModelError(f"measure {unknown[0]!r} does not exist; the traces are {', '.join(TRACES)}")
    if not precision > 0:
        raise ModelError(f"precision {precision}: expected a share of the value, above 0")
    columns = [TRACES.index(name) for name in measures]
    shares = np.array([chunk.stop - chunk.start for chunk in loss_function.chunks]) / len(loss_function)
    rounds: list[list[np.ndarray]] = []
    while True:
        probes = (rademacher(loss_function.parameters, seed, len(rounds), k) for k in range(len(shares)))
        forms = [
            loss_function.quadratic_forms(v, chunk, hessian="hessian_trace" in measures)[columns]
            for v, chunk in zip(probes, loss_function.chunks, strict=True)
        ]
        rounds.append(forms)
        products = len(rounds) * len(shares)
        values, errors = mean_and_error(np.array(rounds), shares)
        converged = errors <= precision * np.abs(values)
        if converged.all() or products >= max_products:
            return {
                name: Estimate(float(v), float(e), products, bool(c))
                for name, v, e, c in zip(measures, values, errors, converged, strict=True)
            }


def mean_and_error(samples: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean over chunks and its standard error, which is infinite with too few samples.

    Args:
        samples: [rounds, chunks, measures].
        shares: Weights of the chunks, with a sum of 1.

    Returns:
        Two arrays [measures].
    """
    rounds, chunks, _ = samples.shape
    weights = shares[:, None]
    value = (weights * samples.mean(axis=0)).sum(axis=0)
    if (rounds - 1) * chunks + 1 >= LEAST_SAMPLES:
        variance = (weights**2 * samples.var(axis=0, ddof=1)).sum(axis=0) / rounds
    elif rounds == 1 and chunks >= LEAST_SAMPLES:
        variance = (weights**2 * (samples[0] - value) ** 2).sum(axis=0) * chunks / (chunks - 1)
    else:
        variance = np.full_like(value, np.inf)
    return value, np.sqrt(variance)


def largest_eigenvalue(
    loss_function: LossFunction, precision: float = 0.01, max_products: int | None = None, seed: int = 0
) -> Estimate:
    """Find the largest (most positive) eigenvalue of the Hessian over all images, by Lanczos' method.

    Each step multiplies the whole Hessian by a vector and orthogonalizes the result against all earlier ones, so that
    rounding creates no spurious copies. This keeps one vector of the parameters' size per step.

    Args:
        loss_function: The loss over the images.
        precision: Stop when the residual is at most this share of the eigenvalue.
        max_products: Stop after this number of calls on a chunk. Default: 100 steps.
        seed: Seed of the start vector.

    Returns:
        The estimate with its unit eigenvector.

    Raises:
        DataError: a derivative is not finite.
    """
    size, chunks = loss_function.parameters, len(loss_function.chunks)
    steps = min(size, 100 if max_products is None else max(1, max_products // chunks))
    v = np.random.default_rng(seed).standard_normal(size).astype(loss_function.dtype)
    v /= np.linalg.norm(v)
    basis, diagonal, side = [], [], []
    for step in range(1, steps + 1):
        basis.append(v)
        w = loss_function.hessian_vector(v).astype(np.float64)
        diagonal.append(float(w @ v))
        for _ in range(2):  # twice is enough: Parlett, The Symmetric Eigenvalue Problem, 6.9
            for u in basis:
                w -= (w @ u) * u
        side.append(float(np.linalg.norm(w)))
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(side[:-1], 1) + np.diag(side[:-1], -1))
        residual = side[-1] * abs(vectors[-1, -1])
        converged = bool(residual <= precision * abs(values[-1]))
        # At least two steps: a start vector orthogonal to the eigenvector could look converged.
        if (converged and step > 1) or step == steps or side[-1] == 0:
            break
        v = (w / side[-1]).astype(loss_function.dtype)
    vector = sum(c * u for c, u in zip(vectors[:, -1], basis, strict=True))
    return Estimate(float(values[-1]), float(residual), step * chunks, converged, vector.astype(loss_function.dtype))


def epsilon_sharpness(loss_function: LossFunction, epsilon: float = 1e-3, steps: int = 10) -> Estimate:
    """Estimate the largest growth of the loss in a small box around the weights, in percent.

    This is metric 2.1 of Keskar et al., On Large-Batch Training for Deep Learning (https://arxiv.org/abs/1609.04836),
    in the whole space: 100 * (max L(w + z) - L(w)) / (1 + L(w)) over all z with |z_i| <= epsilon * (|w_i| + 1). The
    paper maximizes with at most ten iterations of L-BFGS-B. Here each step moves to the corner of the box in the
    direction of the gradient at the last point (the Frank-Wolfe step, under which a convex loss never falls), until the
    loss stops growing. Either way the result is a lower bound of the maximum.

    Args:
        loss_function: The loss over the images.
        epsilon: Relative size of the box.
        steps: Maximum number of steps.

    Returns:
        The estimate, without a standard error, and the displacement z. It has converged if the loss stopped growing.

    Raises:
        ModelError: epsilon is not positive.
        DataError: a derivative is not finite.
    """
    if not epsilon > 0:
        raise ModelError(f"epsilon {epsilon}: expected a number above 0")
    box = (epsilon * (np.abs(loss_function.weights) + 1)).astype(loss_function.dtype)
    start, gradient = loss_function.gradient()
    best, displacement, converged = start, np.zeros_like(box), False
    for step in range(1, steps + 1):  # noqa: B007
        corner = box * np.sign(gradient)
        loss, gradient = loss_function.gradient(corner)
        converged = loss <= best
        if converged:
            break
        best, displacement = loss, corner
    products = (step + 1) * len(loss_function.chunks)
    return Estimate(100 * (best - start) / (1 + start), None, products, converged, displacement)
