"""Sharpness: the curvature of a trained network's loss, with standard errors. docs/sharpness.md defines each measure.

loss_function = LossFunction(model, images, labels)         # the loss over these images and its derivatives
estimate_traces(loss_function)["hessian_trace"]             # Estimate(value=..., standard_error=..., ...)
largest_eigenvalue(loss_function)
epsilon_sharpness(loss_function)
measure(model, dataset, on=("batch", "test"))               # all measures, as rows
"""

from cifarzoo.evaluation.sharpness.estimators import (
    Estimate,
    epsilon_sharpness,
    estimate_traces,
    largest_eigenvalue,
)
from cifarzoo.evaluation.sharpness.loss_function import LossFunction
from cifarzoo.evaluation.sharpness.measure import MEASURES, format_rows, measure, write_rows

__all__ = [
    "MEASURES",
    "Estimate",
    "LossFunction",
    "epsilon_sharpness",
    "estimate_traces",
    "format_rows",
    "largest_eigenvalue",
    "measure",
    "write_rows",
]
