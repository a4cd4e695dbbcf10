"""What notebooks/sharpness.ipynb measures, on real CIFAR-10; each result is kept as a file in notebooks/sharpness/.

    python notebooks/sharpness_study.py      # measure what is missing: about an hour on two cores if all is

The networks are trained first where runs/sharpness does not have them. Delete a file to have it measured again.
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
# Steps of ResNet-20 after which its weights are kept; an epoch has 78.
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
# Experiment 1: chunks of images times probes that all chunks share.
CHUNKS, PROBES = 16, 24
# Experiment 3: subsets of so many images, so many of each.
SUBSETS = {125: 6, 500: 3, 2000: 1}
COMPARED_IMAGES, EIGENVALUE_IMAGES, CURVE_IMAGES = 2500, 250, 1000


def kept(name: str, measure):
    """What `measure()` returned, from notebooks/sharpness/NAME.json if it is there."""
    path = MEASURED / f"{name}.json"
    if not path.exists():
        started = time.perf_counter()
        found = measure()
        found["seconds"] = round(time.perf_counter() - started, 1)
        MEASURED.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(found) + "\n")
        part.replace(path)
        print(f"{name}: {found['seconds']} s", flush=True)
    return json.loads(path.read_text())


# ---------------------------------------------------------------------------------------------------- networks


@functools.cache
def cifar10():
    """The whole data set."""
    from cifarzoo.data import load

    return load("cifar10")


@functools.cache
def few_images():
    """CIFAR-10 with the first 5,000 training images only."""
    return dataclasses.replace(cifar10(), train=cifar10().train.take(slice(TRAINING_IMAGES)))


def train(name: str):
    """Train a network of sharpness_networks.yaml, unless it is there; the folder of its run."""
    import keras

    from cifarzoo.experiment.files import read_experiments
    from cifarzoo.runs.folder import RunFolder
    from cifarzoo.training.trainer import run

    experiments = {
        e.name: e for e in read_experiments(HERE / "sharpness_networks.yaml", [f"train_parameters.logdir={RUNS}"])
    }
    folder = RunFolder.of(experiments[name], 0)

    class KeepWeights(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch + 1 in MOMENTS:
                self.model.save_weights(folder.path / f"step{batch + 1}.weights.h5")

    run(experiments[name], 0, few_images(), [KeepWeights()])
    return folder


def network(name: str, step: int | None = None):
    """A network, and its training and test images in random order; `step` asks for earlier weights."""
    from cifarzoo.evaluation.load_model import load_run
    from cifarzoo.models.registry import create_model
    from cifarzoo.pretrained.loading import load_file

    if name == PUBLISHED:
        model = create_model("cifar_resnet20", load_weights=True)
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
    """Experiment 1: quadratic forms of 16 chunks of 125 training images along the same 24 probes."""
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
    """Experiments 2 and 4: one probe for each chunk of all, or of the first `count`, images of a part."""
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
    found = classification_metrics(predict(model, images.images), images.labels)
    return {"samples": samples, "loss": found["nll"], "error": found["error"], "images": len(images)}


def eigenvalue(name: str, part: str, first: int, count: int, step: int | None = None):
    """Experiments 3 and 4: the Hessian's largest eigenvalue over `count` images from the `first` on."""
    from cifarzoo.evaluation.sharpness import LossFunction, largest_eigenvalue

    model, splits = network(name, step)
    images = splits[part].take(slice(first, first + count))
    found = largest_eigenvalue(LossFunction(model, images.images, images.labels, chunk=CHUNK), precision=0.02)
    return {"value": found.value, "residual": found.standard_error, "calls": found.products}


def curves(name: str, step: int | None = None):
    """Experiment 5: loss of training and test images along a random and an adversarial direction.

    The adversarial one is the displacement that `epsilon_sharpness` finds on other training images than are drawn.
    """
    from cifarzoo.evaluation.loss_slices import loss_slice, random_direction
    from cifarzoo.evaluation.sharpness import LossFunction, epsilon_sharpness

    model, splits = network(name, step)
    others = splits["train"].take(slice(CURVE_IMAGES, CURVE_IMAGES + 500))
    worst = epsilon_sharpness(LossFunction(model, others.images, others.labels, chunk=CHUNK)).vector
    shapes = [tuple(v.shape) for v in model.trainable_variables]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    adversarial = [part.reshape(shape) for part, shape in zip(np.split(worst, ends), shapes, strict=True)]
    found = {}
    for kind, direction, places in (
        ("random", random_direction(model, 0), np.linspace(-0.4, 0.4, 9)),
        ("adversarial", adversarial, np.linspace(-0.2, 0.2, 9)),
    ):
        found[kind] = {"places": places.tolist()}
        for part, split in splits.items():
            some = split.take(slice(CURVE_IMAGES))
            line = loss_slice(model, some.images, some.labels, [direction], [places])
            found[kind][part] = np.minimum(line.loss, 1e6).tolist()
    return found


# Every measurement by the name of its file, in the order in which they answer the questions.
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
    """A result by name, measured now if it is missing."""
    return kept(name, MEASUREMENTS[name])


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for name in MEASUREMENTS:
        if not wanted or any(name.startswith(prefix) for prefix in wanted):
            measured(name)
