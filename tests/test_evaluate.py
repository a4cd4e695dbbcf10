"""Evaluation beside the metrics themselves."""

import keras
import numpy as np
import pytest
from tiny_models import tiny_cnn

from cifarzoo.data import load
from cifarzoo.evaluation.evaluate import Subject, evaluate


def test_flip_averages_the_logits_of_both_views_and_is_optional():
    keras.utils.set_random_seed(0)
    dataset, model = load("synthetic"), tiny_cnn()
    subject = Subject(model, "synthetic", "fresh")
    images = dataset.test.images.astype("float32")
    one, mirrored = (np.asarray(model(x, training=False)) for x in (images, images[:, :, ::-1]))
    assert np.abs(one - mirrored).max() > 1e-3
    plain, logits = evaluate(subject, dataset)
    np.testing.assert_allclose(logits, one, atol=1e-5)
    flipped, logits = evaluate(subject, dataset, flip=True)
    np.testing.assert_allclose(logits, (one + mirrored) / 2, atol=1e-5)
    assert flipped["nll"] != pytest.approx(plain["nll"], abs=1e-6)
