"""The measurements of notebooks/sharpness.ipynb on real CIFAR-10; each result is a file in notebooks/sharpness/.

    python notebooks/sharpness_study.py [PREFIX ...]     # measure what is missing: about an hour on two cores for all

Networks that runs/sharpness lacks are trained first. Delete a file to measure it again.
"""

import dataclasses
import functools
import json
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
MEASURED = HERE / "sharpness"
RUNS = HERE.parent / "runs" / "sharpness"
TRAINING_IMAGES = 5000
# Steps after which the weights of ResNet-20 are saved; an epoch has 78.
MOMENTS = [39, 156, 624, 1560]
PUBLISHED = "published"
NETWORKS = {
    PUBLISHED: "ResNet-20, published (50,000 images, augmented)",
    "resnet20": "ResNet-20",
    "resnet20_preactivated": "ResNet-20, pre-activated",
    "wide_resnet16_1": "WRN-16-1",
    "vgg11": "VGG-11",
}
FORMS = ("hessian", "fisher", "ntk")
CHUNK = 125
# Experiment 1: number of chunks of images, and of probes that all chunks share.
CHUNKS, PROBES = 16, 24
# Experiment 3: images per subset, and number of such subsets.
SUBSETS = {125: 6, 500: 3, 2000: 1}
COMPARED_IMAGES, EIGENVALUE_IMAGES, CURVE_IMAGES = 2500, 250, 1000


def cached(name: str, measure):
    """Return the result of `measure()`, from notebooks/sharpness/NAME.json if that exists."""
    path = MEASURED / f"{name}.json"
    if not path.exists():
        started = time.perf_counter()
        result = measure()
        result["seconds"] = round(time.perf_counter() - started, 1)
        MEASURED.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result) + "\n", encoding="utf-8")
        part.replace(path)
        print(f"{name}: {result['seconds']} s", flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------------------------------- networks


@functools.cache
def cifar10():
    """Load the whole data set."""
    from cifarzoo.data import load

    return load("cifar10")


@functools.cache
def few_images():
    """Return CIFAR-10 with only the first 5,000 training images."""
    return dataclasses.replace(cifar10(), train=cifar10().train.take(slice(TRAINING_IMAGES)))


def train(name: str):
    """Train a network of sharpness_networks.yaml unless its run is finished; return the run's folder."""
    import keras

    from cifarzoo.experiment.files import read_experiments
    from cifarzoo.training.job import prepare
    from cifarzoo.training.trainer import run

    experiments = {
        e.name: e for e in read_experiments(HERE / "sharpness_networks.yaml", [f"train_parameters.logdir={RUNS}"])
    }
    job = prepare(experiments[name], few_images())
    folder = job.folder(0)

    class KeepWeights(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch + 1 in MOMENTS:
                self.model.save_weights(folder.path / f"step{batch + 1}.weights.h5")

    run(job, 0, [KeepWeights()])
    return folder


def network(name: str, step: int | None = None):
    """Return a network, at an earlier `step` if there is one, and its training and test images in random order."""
    from cifarzoo.evaluation.load_model import load_run
    from cifarzoo.models.registry import create_model
    from cifarzoo.pretrained.loading import load_file

    if name == PUBLISHED:
        model = create_model("cifar_resnet20", load_weights="resnet20_v1_cifar10_short_s0")
        dataset = cifar10()
    else:
        folder = train(name)
        model = load_run(folder).model
        dataset = few_images()
        if step is not None:
            load_file(model, folder.path / f"step{step}.weights.h5")
    splits = {"train": dataset.train, "test": dataset.test}
    return model, {part: split.take(np.random.RandomState(0).permutation(len(split))) for part, split in splits.items()}


# ---------------------------------------------------------------------------------------------------- measurements


def shared_probes():
    """Experiment 1: measure the quadratic forms of 16 chunks of 125 training images along the same 24 probes."""
    from cifarzoo.evaluation.sharpness import LossFunction
    from cifarzoo.evaluation.sharpness.estimators import rademacher

    model, splits = network(PUBLISHED)
    images = splits["train"].take(slice(CHUNKS * CHUNK))
    loss_function = LossFunction(model, images.images, images.labels, chunk=CHUNK)
    samples, calls = [], []
    for number in range(PROBES):
        probe = rademacher(loss_function.parameters, 0, number)
        started = time.perf_counter()
        samples.append([loss_function.quadratic_forms(probe, chunk).tolist() for chunk in loss_function.chunks])
        calls.append((time.perf_counter() - started) / CHUNKS)
    return {"samples": samples, "seconds_a_call": float(np.median(calls))}


def whole_set(name: str, part: str, count: int | None = None, step: int | None = None):
    """Experiments 2 and 4: use one probe per chunk, over all or the first `count` images of a part."""
    from cifarzoo.evaluation.evaluate import predict
    from cifarzoo.evaluation.sharpness import LossFunction
    from cifarzoo.evaluation.sharpness.estimators import rademacher
    from cifarzoo.metrics import classification_metrics

    model, splits = network(name, step)
    images = splits[part].take(slice(count))
    loss_function = LossFunction(model, images.images, images.labels, chunk=CHUNK)
    samples = [
        loss_function.quadratic_forms(rademacher(loss_function.parameters, 0, 0, number), chunk).tolist()
        for number, chunk in enumerate(loss_function.chunks)
    ]
    metrics = classification_metrics(predict(model, images.images), images.labels)
    return {"samples": samples, "loss": metrics["nll"], "error": metrics["error"], "images": len(images)}


def eigenvalue(name: str, part: str, first: int, count: int, step: int | None = None):
    """Experiments 3 and 4: measure the Hessian's largest eigenvalue over `count` images starting at `first`."""
    from cifarzoo.evaluation.sharpness import LossFunction, largest_eigenvalue

    model, splits = network(name, step)
    images = splits[part].take(slice(first, first + count))
    estimate = largest_eigenvalue(LossFunction(model, images.images, images.labels, chunk=CHUNK), precision=0.02)
    return {"value": estimate.value, "residual": estimate.standard_error, "calls": estimate.products}


def curves(name: str, step: int | None = None):
    """Experiment 5: measure the loss of training and test images along a random and an adversarial direction.

    The adversarial direction is the displacement that `epsilon_sharpness` finds on training images outside the curve.
    """
    from cifarzoo.evaluation.loss_slices import loss_slice, random_direction
    from cifarzoo.evaluation.sharpness import LossFunction, epsilon_sharpness

    model, splits = network(name, step)
    others = splits["train"].take(slice(CURVE_IMAGES, CURVE_IMAGES + 500))
    worst = epsilon_sharpness(LossFunction(model, others.images, others.labels, chunk=CHUNK)).vector
    shapes = [tuple(v.shape) for v in model.trainable_variables]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    adversarial = [part.reshape(shape) for part, shape in zip(np.split(worst, ends), shapes, strict=True)]
    result = {}
    for kind, direction, places in (
        ("random", random_direction(model, 0), np.linspace(-0.4, 0.4, 9)),
        ("adversarial", adversarial, np.linspace(-0.2, 0.2, 9)),
    ):
        result[kind] = {"places": places.tolist()}
        for part, split in splits.items():
            some = split.take(slice(CURVE_IMAGES))
            line = loss_slice(model, some.images, some.labels, [direction], [places])
            result[kind][part] = np.minimum(line.loss, 1e6).tolist()
    return result


# Every measurement by its file name, in the order in which they answer the questions.
MEASUREMENTS = {"shared_probes": shared_probes}
for part in ("train", "test"):
    MEASUREMENTS[f"whole_{part}"] = functools.partial(whole_set, PUBLISHED, part)
for size, repetitions in SUBSETS.items():
    for number in range(repetitions):
        MEASUREMENTS[f"eigenvalue_{size}_{number}"] = functools.partial(
            eigenvalue, PUBLISHED, "train", size * number, size
        )
STATES = [(name, None) for name in NETWORKS] + [("resnet20", step) for step in MOMENTS[:-1]]
for name, step in STATES:
    state = name if step is None else f"{name}_step{step}"
    for part in ("train", "test"):
        MEASUREMENTS[f"traces_{state}_{part}"] = functools.partial(whole_set, name, part, COMPARED_IMAGES, step)
        MEASUREMENTS[f"eigenvalue_{state}_{part}"] = functools.partial(
            eigenvalue, name, part, 0, EIGENVALUE_IMAGES, step
        )
for name, step in STATES:
    state = name if step is None else f"{name}_step{step}"
    MEASUREMENTS[f"curves_{state}"] = functools.partial(curves, name, step)


def measured(name: str) -> dict:
    """Return a result by name, measuring it now if its file is missing."""
    return cached(name, MEASUREMENTS[name])


if __name__ == "__main__":
    prefixes = sys.argv[1:]
    for name in MEASUREMENTS:
        if not prefixes or any(name.startswith(prefix) for prefix in prefixes):
            measured(name)
