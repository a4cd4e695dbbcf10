"""TensorFlow's distribution strategies, one object per process and distribution."""

import functools
import os

import tensorflow as tf

from cifarzoo.errors import ExperimentError
from cifarzoo.training.engines.cluster import is_described, read_cluster


@functools.cache
def get_strategy(distribution: str) -> tf.distribute.Strategy | None:
    """Return the strategy of a `distribution`, always the same object, because a process cannot make a second one.

    Raises:
        ExperimentError: the distribution needs what this machine or its environment does not have.
    """
    if distribution == "auto":
        if is_described():
            return get_strategy("multi_worker")
        if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
            return get_strategy("tpu")
        return get_strategy("mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "none")
    if distribution == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if devices[0].device_type == "CPU":
            # Without a GPU the default all-reduce looks for NCCL; summing on the first device works everywhere.
            return tf.distribute.MirroredStrategy(
                [device.name for device in devices], cross_device_ops=tf.distribute.ReductionToOneDevice()
            )
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if distribution == "multi_worker":
        read_cluster()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if distribution == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(os.environ.get("TPU_NAME", "local"))
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
        except (ValueError, tf.errors.OpError) as failure:
            raise ExperimentError(
                f"distribution: tpu, but no TPU answers here ({str(failure).splitlines()[0]})"
            ) from None
    return None
