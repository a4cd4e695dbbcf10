"""Engines: one compiled call trains many steps. `create_engine` picks the one of the active Keras backend."""

from cifarzoo.errors import ExperimentError


def create_engine(experiment, dataset, seed):
    """The engine of the active Keras backend for one run of an experiment."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        from cifarzoo.training.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(experiment, dataset, seed)
    if backend == "jax":
        from cifarzoo.training.engines.jax import JaxEngine

        return JaxEngine(experiment, dataset, seed)
    raise ExperimentError(f"backend: training runs on tensorflow or jax, but Keras was started with {backend!r}")
