"""Logs and sharpness in cifar_jax's columns, against numbers worked by hand and exact matrices."""

import numpy as np
import pytest
from sharpness_exact import CHUNK, IMAGES, data, float64_network, toy_dataset

from cifarzoo.errors import DataError
from cifarzoo.evaluation.cifar_jax import format_log, sharpness_row
from cifarzoo.evaluation.sharpness import LossFunction, write_rows

LOG = (
    "step\tepoch\tloss\terror\tgradient_norm\tval_loss\tval_error\tweight_norm\ttrain_loss\ttrain_error\n"
    "10\t0.5\t2\t80\t3\t\t\t\t\t\n"
    "20\t1\t1.5\t60\t2\t1.25\t{error}\t4\t1\t40\n"
)


def test_columns_of_the_log(tmp_path):
    (tmp_path / "log.tsv").write_text(LOG.format(error=50))
    header, *rows = [line.split("\t") for line in format_log(tmp_path / "log.tsv").splitlines()]
    assert header == ["epoch", "acc", "loss", "wd", "grad_norm", "acc_tr", "acc_te"]
    assert [[float(cell) for cell in row] for row in rows] == [[1, 0.4, 1.5, 8, 4, 0.6, 0.5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "no rows yet"),
        ("step\tloss\n", "no rows yet"),
        ("step\tloss\n1\tmuch\n", "not a table of numbers"),
        ("step\tloss\n1\t2\t3\n", "not a table of numbers"),
        ("step\tloss\n1\t2\n", "has no column 'epoch'"),
        (LOG.rsplit("20", 1)[0], "no validation yet"),
    ],
)
def test_bad_logs_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "log.tsv").write_text(content)
    with pytest.raises(DataError, match=rf"log\.tsv: {message}"):
        format_log(tmp_path / "log.tsv")


@pytest.mark.slow
def test_columns_and_scales_of_the_sharpness(tmp_path):
    """Accuracies, the squared loss's Hessian with 5e-4 for every parameter over a device's share, NTK per image."""
    model, dataset, (images, labels) = float64_network(), toy_dataset(), data()
    row = sharpness_row(model, dataset, batch_size=30, devices=3, precision=0.02, chunk=CHUNK)
    write_rows([row], tmp_path / "sharpness.tsv", ".4f")
    header, values = (line.split("\t") for line in (tmp_path / "sharpness.tsv").read_text().splitlines())
    assert header == ["acc_tr", "acc_te", "tr_hess_batch", "tr_hess_dataset", "tr_ntk_batch", "tr_ntk_dataset",
                      "tr_hess_dataset_te", "tr_ntk_dataset_te"]  # fmt: skip
    assert all(len(value.split(".")[1]) == 4 for value in values)
    right = np.asarray(model(images)).argmax(axis=1) == labels
    assert row["acc_tr"] == pytest.approx(right.mean()) and row["acc_te"] == pytest.approx(right[:20].mean())
    exact = LossFunction(model, images, labels, loss="squared", chunk=IMAGES)
    hessian = sum(exact.hessian_vector(e)[k] for k, e in enumerate(np.eye(exact.parameters)))
    assert row["tr_hess_dataset"] == pytest.approx((hessian + 5e-4 * exact.parameters) / 10, rel=0.06)
