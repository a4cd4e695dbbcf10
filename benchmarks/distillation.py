"""Measure what a teacher costs: images per second of ResNet-20 with the published ResNet-9 as teacher, and without.

    python benchmarks/distillation.py [--teacher resnet9_cifar10_tricks_s0] [--steps 5] [--rounds 5]

All train in turns in one process, on random images; the medians of the rounds count. "in every step" computes the
teacher's logits in every step, "views" reads them; computing a view is measured apart, in images per second of the
teacher with augmentation. KERAS_BACKEND chooses the engine.

Expected before measuring, on two cores in float32: ResNet-9 computes 9.4 times as much as ResNet-20 per image, but
forward only, so a step with the teacher has 4.1 times the arithmetic. Its large convolutions run at about twice the
rate, which leaves 2.5 times the time of a step, or 40 % of the speed. With views, at least 98 % of the speed.
"""

import argparse
import dataclasses
import statistics
import time

BATCH = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="cifar_resnet20")
    parser.add_argument("--teacher", default="resnet9_cifar10_tricks_s0")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    import keras
    import numpy as np

    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.training.job import prepare

    # Random images under the name of the data set that the teacher knows, so that no archive is needed.
    synthetic = load("synthetic")
    dataset = dataclasses.replace(
        synthetic, name="cifar10", train=synthetic.train.take(slice(8 * BATCH)), test=synthetic.test.take(slice(BATCH))
    )
    images = len(dataset.train)
    cases = {"no teacher": None, "in every step": {}, "views": {"views": 8}}
    engines = {}
    for name, extra in cases.items():
        document = {
            "model": options.model,
            "precision": options.precision,
            "train_parameters": {"batch_size": BATCH, "steps_per_call": options.steps},
        }
        if extra is not None:
            document["teacher"] = {"model": options.teacher} | extra
        engine = engines[name] = prepare(Experiment.model_validate(document), dataset).create_engine(0)
        if name == "views":
            engine.teacher.keep(np.zeros((8, images, dataset.classes), np.float16))
    indices = np.arange(options.steps * BATCH, dtype=np.int32).reshape(options.steps, BATCH) % images
    rates = np.full(options.steps, 1e-3)

    def view():
        engines["in every step"].teacher.logits("train", 0)

    actions = {name: lambda engine=engine: engine.train(0, indices, rates) for name, engine in engines.items()}
    counts = dict.fromkeys(actions, options.steps * BATCH) | {"computing a view": images}
    actions["computing a view"] = view
    seconds = {name: [] for name in actions}
    for action in actions.values():
        action()  # compiles
    for _ in range(options.rounds):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - started)
    speeds = {name: counts[name] / statistics.median(values) for name, values in seconds.items()}
    print(f"{options.model}, teacher {options.teacher}, {options.precision}, {keras.backend.backend()}")
    print("| teacher | images per second | relative |\n| --- | ---: | ---: |")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:,.0f} | {speed / speeds['no teacher']:.2f} |")


if __name__ == "__main__":
    main()
