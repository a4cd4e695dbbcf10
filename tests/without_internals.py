"""Train with and without what keras_internals relies on; print losses, logits and warnings as JSON.

The process runs on $KERAS_BACKEND. Its test is test_keras_internals.py.
"""

import json
import logging

import numpy as np


def train(experiment, dataset):
    """Train four steps in two calls, use everything else that depends on internals, and return what can be compared."""
    import keras

    from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
    from cifarzoo.models.common_layers import conv
    from cifarzoo.models.registry import create_model
    from cifarzoo.training.callbacks import layer_graph
    from cifarzoo.training.job import prepare

    places = np.arange(64, dtype=np.int32).reshape(4, 16)
    with without_tensorflow():
        engine = prepare(experiment, dataset).create_engine(0)
        losses = [engine.train(first, places[first : first + 2], np.full(2, 0.1))["loss"] for first in (0, 2)]
        logits = engine.predict("test")
    grouped = conv(keras.Input((8, 8, 4)), 4, 3, groups=2, name="grouped")
    create_model("cifar_resnet20")
    nodes = len(layer_graph(engine.model).node)
    return {"losses": losses, "logits": logits[:20].ravel().tolist(), "shape": grouped.shape, "nodes": nodes}


def main():
    """Run twice: as this Keras version is, and as if it had none of the internals."""
    from cifarzoo.data import load
    from cifarzoo.experiment.schema import Experiment
    from cifarzoo.keras_internals import block_loops, block_loops_jax
    from cifarzoo.keras_internals.support import INTERNALS

    class Records(logging.Handler):
        def emit(self, record):
            warnings.append(record.getMessage())

    warnings = []
    logging.getLogger("cifarzoo").addHandler(Records())
    block_loops.MIN_COPIES = block_loops_jax.MIN_COPIES_ON_CPU = 4
    experiment = Experiment.model_validate(
        {
            "module": "tiny_models",
            "model": "tiny_residual_cnn",
            "dataset": "synthetic",
            "distribution": "none",
            "train_parameters": {"batch_size": 16, "steps_per_call": 2},
        }
    )
    dataset = load("synthetic")
    results = {"with": train(experiment, dataset), "warnings with": list(warnings)}
    for part in INTERNALS.values():
        part.probe = lambda: False
    results |= {"without": train(experiment, dataset), "warnings without": warnings}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
