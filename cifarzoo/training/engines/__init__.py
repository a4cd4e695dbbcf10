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


def create_group(engines):
    """What trains several engines of one experiment, which differ in the seed, in one program: JAX only.

    Raises:
        ExperimentError: on another backend.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise ExperimentError("seeds_at_once: several seeds in one program need backend: jax")
    from cifarzoo.training.engines.seeds import SeedGroup

    return SeedGroup(engines)


def replica_count(experiment) -> int:
    """Over how many devices the active backend would spread a batch of this experiment."""
    import keras

    if keras.backend.backend() == "tensorflow":
        from cifarzoo.training.engines.tensorflow import get_strategy

        strategy = get_strategy(experiment.distribution)
        return strategy.num_replicas_in_sync if strategy else 1
    from cifarzoo.training.engines.jax import device_count

    return device_count(experiment)


def is_chief(experiment) -> bool:
    """Whether this process writes the files of a run; of several workers only one does."""
    import keras

    if keras.backend.backend() == "tensorflow":
        from cifarzoo.training.engines.tensorflow import is_chief as is_tensorflow_chief

        return is_tensorflow_chief(experiment)
    import jax

    from cifarzoo.training.engines.jax import device_count

    device_count(experiment)  # joins the other workers, if there are any
    return jax.process_index() == 0
