"""Sharpness: the curvature of a trained network's loss, with its standard error; docs/sharpness.md has the definitions.

loss_function = LossFunction(model, images, labels)                # loss and derivatives over these images
estimate_traces(loss_function)["hessian_trace"]                 # Estimate(value=..., standard_error=..., ...)
largest_eigenvalue(loss_function)
epsilon_sharpness(loss_function)
measure(model, dataset, on=("batch", "test"))               # all of it, as rows
"""

from cifarzoo.evaluation.sharpness.estimators import (
    Estimate,
    epsilon_sharpness,
    estimate_traces,
    largest_eigenvalue,
)
from cifarzoo.evaluation.sharpness.loss_function import LossFunction
from cifarzoo.evaluation.sharpness.measure import MEASURES, cifar_jax_row, format_tsv, measure, write_tsv

__all__ = [
    "MEASURES",
    "Estimate",
    "LossFunction",
    "cifar_jax_row",
    "epsilon_sharpness",
    "estimate_traces",
    "format_tsv",
    "largest_eigenvalue",
    "measure",
    "write_tsv",
]
