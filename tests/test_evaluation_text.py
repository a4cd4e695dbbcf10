"""Metrics as text."""

import numpy as np
import pytest

from cifarzoo.evaluation.predictions import Predictions
from cifarzoo.evaluation.text import as_markdown, collapse_note


@pytest.mark.parametrize(
    ("train_split", "words"),
    [("train", "was trained on these images"), ("train45k", "held out from training"), ("", "is not known")],
)
def test_the_page_says_whose_images_fitted_the_temperature(train_split, words):
    logits, labels = np.eye(10, dtype=np.float32), np.arange(10)
    arrays = {"test": logits, "validation": logits}, {"test": labels, "validation": labels}
    text = as_markdown(Predictions("tiny", "cifar10", train_split, *arrays).describe())
    assert words in text and "| error % | 0.00 |" in text and "| airplane | 0.00 |" in text


def test_one_class_for_nearly_every_image_is_explained():
    def note(classes, predicted):
        labels = np.arange(20 * classes) % classes
        logits = np.eye(classes, dtype=np.float32)[np.full(len(labels), predicted) if predicted is not None else labels]
        return collapse_note(Predictions("x", logits={"test": logits}, labels={"test": labels}).describe())

    assert note(10, None) == note(4, None) == ""
    assert note(10, 6).startswith("100 % of the images are predicted as 6: the weights are not trained, or")
    random = np.random.RandomState(0)  # chance alone, spread over the classes, needs no explanation
    spread = Predictions("x", logits={"test": random.randn(500, 10)}, labels={"test": np.arange(500) % 10}).describe()
    assert collapse_note(spread) == ""
