"""Progressive resizing: reduction as in Pillow, ends of stages, and networks that do or do not take small images."""

import keras
import numpy as np
import pytest
from model_cases import fill, pixels
from PIL import Image
from test_engine_tensorflow import document

from cifarzoo.augment.resize import resize_down
from cifarzoo.data import load
from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.resizing import ImageSizes, ResizingStage
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.block_loops import looped_blocks
from cifarzoo.keras_internals.model_graph import any_image_size
from cifarzoo.training.job import prepare
from cifarzoo.training.preflight import preflight
from cifarzoo.training.trainer import run

STAGES = [{"size": 16, "until": 4}, {"size": 24, "until": 10}]


def pillow(images, size):
    """Float images reduced by Pillow, [images, size, size, 3]."""
    planes = images.astype("float32").transpose(0, 3, 1, 2).reshape(-1, *images.shape[1:3])
    shrunk = [Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(one) for one in shrunk]).reshape(-1, 3, size, size).transpose(0, 2, 3, 1)


def experiment(folder, **changes):
    parameters = changes.pop("train_parameters", {"progressive_resizing": STAGES})
    settings = {"augmentation": "none", "precision": "float32", **changes}
    return Experiment.model_validate(document(folder, **settings, train_parameters=parameters))


def sizes():
    return ImageSizes([ResizingStage.model_validate(stage) for stage in STAGES], lambda duration: duration.steps)


@pytest.mark.parametrize("size", [8, 16, 20, 24, 31])
def test_images_are_reduced_as_in_pillow(size):
    images = pixels(20)
    reduced = keras.ops.convert_to_numpy(resize_down(keras.ops.cast(images, "float32"), size))
    np.testing.assert_allclose(reduced, pillow(images, size), atol=1e-3)


def test_stages_end_at_their_steps():
    schedule = [sizes().at(step) for step in range(12)]
    assert schedule == [16] * 4 + [24] * 6 + [32] * 2
    assert [sizes().next_change(step) for step in (0, 3, 4, 9, 10)] == [4, 4, 10, 10, None]
    areas = [(size / 32) ** 2 for size in schedule]
    for first in range(12):
        assert sizes().relative_area(first, 12) == pytest.approx(np.mean(areas[first:]))


def test_no_call_extends_past_a_stage(tmp_path):
    plan = Plan(experiment(tmp_path, train_parameters={"progressive_resizing": STAGES, "steps_per_call": 50}), 1000)
    ends = [0]
    while ends[-1] < plan.total:
        ends.append(plan.next_end(ends[-1]))
    assert ends == [0, 4, 8, 10, 16, 24]
    assert plan.full_size_images(10) == 14 * 32


@pytest.mark.parametrize("step, size", [(0, 16), (4, 24), (10, 32)])
def test_the_network_sees_images_of_the_stages_size(tmp_path, step, size):
    dataset = load("synthetic")
    engine = prepare(experiment(tmp_path), dataset).create_engine(0)
    inputs = x = keras.Input((size, size, 3))
    for layer in engine.model.layers[1:]:
        x = layer(x)
    logits = keras.Model(inputs, x)(pillow(dataset.train.images[:32], size), training=True)
    labels = dataset.train.labels[:32]
    expected = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True).numpy().mean()
    sums = engine.train(step, np.arange(32, dtype=np.int32)[None], np.array([0.0]))
    assert sums["loss"] == pytest.approx(expected, rel=1e-5)


def test_loops_over_blocks_take_small_images():
    from cifarzoo.keras_internals.block_loops_tensorflow import loop_copies
    from cifarzoo.models.registry import create_model

    model = create_model("cifar_resnet110")
    fill(model)
    images = pixels(2)[:, :16, :16].astype("float32")
    with any_image_size(model):
        expected = model(images).numpy()
        with looped_blocks(model, loop_copies):
            logits = model(images).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "stages, message",
    [
        ([STAGES[1], STAGES[0]], "the stages must end one after another, got ends at steps .10, 4."),
        ([{"size": 16, "until": 24}], "the last stage ends at step 24, but training ends at step 24"),
    ],
)
def test_stages_that_do_not_fit(tmp_path, stages, message):
    with pytest.raises(ExperimentError, match=f"tiny_cnn: train_parameters.progressive_resizing: {message}"):
        run(prepare(experiment(tmp_path, train_parameters={"progressive_resizing": stages}), load("synthetic")), 0)


def test_stages_in_several_units_pass_the_check_before_training(tmp_path):
    """The check runs on a few small batches, on which the stages would be in another order."""
    stages = [{"size": 16, "until": {"steps": 200}}, {"size": 24, "until": {"epochs": 4}}]
    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": {"epochs": 5}}
    one = experiment(tmp_path, train_parameters={"progressive_resizing": stages, "schedule": schedule})
    preflight(prepare(one, load("synthetic")))


@pytest.mark.slow
def test_an_average_over_a_schedule_in_several_units_passes_it(tmp_path):
    """Lookahead needs the length of the whole training, which differs on the few images of the check."""
    schedule = {"kind": "cosine", "peak": 0.1, "warmup": {"steps": 400}, "duration": {"epochs": 5}}
    one = experiment(tmp_path, train_parameters={"lookahead": {}, "ema_decay": 0, "schedule": schedule})
    preflight(prepare(one, load("synthetic")))


@pytest.mark.parametrize("model, module", [("tiny_mlp", "tiny_models"), ("cifar_vgg11", None)])
@pytest.mark.slow
def test_networks_that_need_full_images_say_so(tmp_path, model, module):
    """One network flattens its input, the other halves it five times."""
    with pytest.raises(ExperimentError, match=f"{model} does not take images of 16 x 16"):
        run(prepare(experiment(tmp_path, model=model, module=module), load("synthetic")), 0)
