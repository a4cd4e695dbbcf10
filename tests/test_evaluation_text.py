"""Metrics as text."""

import numpy as np
import pytest

from cifarzoo.evaluation.predictions import Predictions
from cifarzoo.evaluation.text import as_markdown


@pytest.mark.parametrize(
    ("train_split", "words"),
    [("train", "was trained on these images"), ("train45k", "held out from training"), ("", "is not known")],
)
def test_the_page_says_whose_images_fitted_the_temperature(train_split, words):
    logits, labels = np.eye(10, dtype=np.float32), np.arange(10)
    arrays = {"test": logits, "validation": logits}, {"test": labels, "validation": labels}
    text = as_markdown(Predictions("tiny", "cifar10", train_split, *arrays).describe())
    assert words in text and "| error % | 0.00 |" in text and "| airplane | 0.00 |" in text
