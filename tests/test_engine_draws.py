"""What the engines tell the augmentation of an image: its place in the data set, the step and the epoch."""

import dataclasses

import numpy as np
import pytest
from model_cases import run_python

from cifarzoo.data import load
from cifarzoo.experiment.plan import stream_indices
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training.job import prepare

IMAGES, BATCH = 60, 24  # batches reach over the end of an epoch


def assert_both_views_in_two_epochs():
    """The alternating flip: by the losses of a network that does not change, every image is seen once as it is and
    once mirrored, whatever the order and whatever batch it comes in."""
    experiment = Experiment.model_validate(
        {
            "module": "tiny_models",
            "model": "tiny_pixels",
            "dataset": "synthetic",
            "augmentation": [{"flip": {"alternating": True}}],
            "precision": "float64",
            "distribution": "none",
            "train_parameters": {"batch_size": BATCH, "weight_decay": 0.0, "steps_per_call": 1},
        }
    )
    dataset = load("synthetic")
    few = dataclasses.replace(dataset, train=dataset.train.take(slice(IMAGES)))
    engine = prepare(experiment, few).create_engine(0)
    kernel, bias = (np.asarray(w) for w in engine.model.get_weights())

    def losses(images):
        logits = (images.reshape(IMAGES, -1) / 64 - 2) @ kernel + bias
        logits -= logits.max(1, keepdims=True)
        return np.log(np.exp(logits).sum(1)) - logits[np.arange(IMAGES), few.train.labels]

    views = np.stack([losses(few.train.images.astype("float64")[:, :, ::step]) for step in (1, -1)])
    found = []
    for step in range(2 * IMAGES // BATCH):
        places = stream_indices(0, IMAGES, step * BATCH, BATCH)
        found.append(engine.train(step, places[None], np.zeros(1))["loss"])
    assert np.abs(views[0] - views[1]).min() > 1e-3
    np.testing.assert_allclose(np.sum(found) * BATCH, views.sum(), rtol=1e-9)
    # That the two views of one epoch would not come to it: half of the images are mirrored in each.
    epoch = np.sum(found[: IMAGES // BATCH]) * BATCH
    assert abs(epoch - views[0, stream_indices(0, IMAGES, 0, IMAGES // BATCH * BATCH)].sum()) > 1e-3


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.slow
def test_alternating_flips_show_both_views_in_two_epochs(backend):
    run_python("import test_engine_draws; test_engine_draws.assert_both_views_in_two_epochs()", backend=backend)
