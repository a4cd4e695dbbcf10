"""The TensorFlow engine: one `tf.function` runs many steps a call through `strategy.run`.

`fit` cannot train under `MultiWorkerMirroredStrategy` nor run several steps a call under any strategy in Keras 3, so
the loop is here. The data set lies on the device as uint8; shuffling, augmentation, forward, backward and update of a
step are one graph. The global batch and its order do not depend on the number of replicas.
"""

import contextlib
import functools
import os

import numpy as np
import tensorflow as tf

from cifarzoo.augment.random import Draws
from cifarzoo.augment.resize import resize_down
from cifarzoo.errors import ExperimentError
from cifarzoo.keras_internals.fast_paths import fast_paths
from cifarzoo.training import build
from cifarzoo.training.engines.batches import check_shares, evaluation_places, padded
from cifarzoo.training.engines.cluster import is_described, read_cluster
from cifarzoo.training.step import objective, step_gradients


@functools.cache
def get_strategy(distribution: str):
    """The strategy of an experiment's `distribution`; one object a process, because a second one cannot be made.

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


def is_chief(experiment) -> bool:
    """Whether this process writes files: of a multi-worker run only the chief, or worker 0 where there is none."""
    strategy = get_strategy(experiment.distribution)
    resolver = strategy and strategy.cluster_resolver
    if not resolver or not resolver.task_type:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


class TensorFlowEngine:
    """Trains one run of an experiment.

    Args:
        experiment: What to train (`cifarzoo.experiment.schema.Experiment`).
        dataset: Arrays of images and labels (`cifarzoo.data.Dataset`).
        seed: Of initial weights, order of images, augmentation and random layers.

    Attributes:
        model: The Keras model; its weights are always the current ones.
    """

    def __init__(self, experiment, dataset, seed):
        self.experiment, self.parameters, self.seed = experiment, experiment.train_parameters, seed
        self.strategy = get_strategy(experiment.distribution)
        self.replicas = self.strategy.num_replicas_in_sync if self.strategy else 1
        check_shares(self.parameters, self.replicas)
        self.share = self.parameters.batch_size // (self.replicas * self.parameters.accumulate)
        if experiment.xla and self.replicas > 1:
            raise ExperimentError("xla: works on one device; a TPU compiles by itself, and so needs no xla: true")
        self._augment = build.build_augmentation(experiment, dataset.classes)
        self._optimizer = build.build_optimizer(experiment)
        train_images = len(dataset.split(experiment.train_split))
        self._averaging = build.build_averaging(experiment, train_images)
        self._sizes = experiment.image_sizes(train_images)
        with self._scope():
            self.model = build.build_model(experiment, dataset.classes, seed)
            self._velocities = [self._slot(tf.zeros(v.shape, v.dtype)) for v in self.model.trainable_variables]
            averaged = self.model.weights if self._averaging else []
            self._averages = [self._slot(v.value) for v in averaged]
        weights = {id(v) for v in self.model.weights}
        self._random_states = [v for v in self.model.variables if id(v) not in weights]
        self._spread_random_states()
        self._splits = {}
        self._dataset = dataset
        # Nothing here is for autograph, which would only convert it all anew in every process.
        # `partial`, because TensorFlow takes another engine's method for this one, traced again, and warns.
        self._compiled_train = tf.function(functools.partial(self._train_steps), autograph=False)
        self._compiled_predict = tf.function(functools.partial(self._predict_batch), autograph=False)

    # ------------------------------------------------------------------------------------------------ training

    def train(self, first_step: int, indices: np.ndarray, learning_rates: np.ndarray) -> dict[str, float]:
        """Train `len(indices)` steps in one compiled call.

        Args:
            first_step: Number of the first of these steps, counted from 0.
            indices: Places in the training split, int32 [steps, batch_size].
            learning_rates: float64 [steps].

        All steps have images of one size, so no call may reach over a change of `progressive_resizing`.

        Returns:
            Sums over the steps of `loss`, `error` and `gradient_norm`.
        """
        images, labels = self._on_devices(self.experiment.train_split)
        longest = self.parameters.longest_call
        with fast_paths(self.model, training=True, synchronized=self.replicas > 1):
            sums = self._compiled_train(
                images,
                labels,
                tf.constant(first_step, tf.int32),
                tf.constant(len(indices), tf.int32),
                tf.constant(padded(indices, longest)),
                tf.constant(padded(learning_rates, longest), self.model.trainable_variables[0].dtype),
                self._sizes.at(first_step),
            )
        return dict(zip(("loss", "error", "gradient_norm"), (float(v) for v in sums.numpy()), strict=True))

    def _train_steps(self, images, labels, first_step, steps, indices, learning_rates, size):
        train_step = functools.partial(self._train_step, size)

        def body(k, sums):
            found = self._run(train_step, images, labels, first_step + k, indices[k], learning_rates[k])
            return k + 1, sums + found

        start = tf.constant(0), tf.zeros([3], learning_rates.dtype)
        return tf.while_loop(lambda k, sums: k < steps, body, start)[1]

    def _run(self, step, *args):
        """One replicated step; its results are equal on all replicas, so the first one's count."""
        function = tf.function(step, jit_compile=True, autograph=False) if self.experiment.xla else step
        if self.strategy is None:
            return function(*args)
        results = self.strategy.run(function, args=args)
        return tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], results)

    def _train_step(self, size, images, labels, step, indices, learning_rate):
        place, indices = self._share(indices)
        epoch = (step * self.parameters.batch_size + place[:, None]) // images.shape[0]
        images, labels = tf.gather(images, indices), tf.gather(labels, indices)
        images, labels = self._augment(images, labels, Draws(self.seed, step, place, epoch, indices))
        model = self.model
        images = resize_down(tf.cast(images, model.inputs[0].dtype), size)
        weights = [tf.convert_to_tensor(v.value) for v in model.trainable_variables]
        others = [tf.convert_to_tensor(v.value) for v in model.non_trainable_variables]
        gradients, loss, wrong, new_others = step_gradients(
            self.parameters, self._differentiate, _after, weights, others, images, labels
        )
        new_weights, velocities, norm = self._optimizer.update(weights, gradients, self._velocities, learning_rate)
        updates = list(zip(model.trainable_variables, new_weights, strict=True))
        updates += zip(model.non_trainable_variables, new_others, strict=True)
        if self._averages:
            new = {id(variable): (variable, value) for variable, value in updates}
            averages, values = self._averaging.update(self._averages, [new[id(v)][1] for v in model.weights], step)
            new |= {id(v): (v, value) for v, value in zip(model.weights, values, strict=True)}
            updates = [*new.values(), *zip(self._averages, averages, strict=True)]
        updates += zip(self._velocities, velocities, strict=True)
        for variable, value in updates:
            variable.assign(value)
        return tf.stack([tf.cast(value, learning_rate.dtype) for value in (loss, wrong, norm)])

    def _differentiate(self, weights, others, images, labels):
        """Gradients of `objective` and what it returns beside the loss, as means over all replicas."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            total, (loss, wrong, others) = objective(self.model, self.parameters, weights, others, images, labels)
        gradients = tape.gradient(total, weights)
        if self.replicas > 1:
            replica = tf.distribute.get_replica_context()
            mean, wrong = tf.distribute.ReduceOp.MEAN, tf.cast(wrong, loss.dtype)  # workers reduce one type at a time
            gradients, loss, wrong = replica.all_reduce(mean, [gradients, loss, wrong])
        return gradients, (loss, wrong, others)

    # ------------------------------------------------------------------------------------------------ evaluation

    def predict(self, split: str, average: bool = False) -> np.ndarray:
        """Logits of a whole split, float32 [images, classes]; of the averaged weights if `average`."""
        count = len(self._dataset.split(split).labels)
        images, _ = self._on_devices(split)
        places = evaluation_places(count, self.parameters.eval_batch_size, self.replicas)
        weights = self.averaged_weights() if average else contextlib.nullcontext()
        with weights, fast_paths(self.model, training=False):
            logits = [self._compiled_predict(images, tf.constant(part)).numpy() for part in places]
        return np.concatenate(logits)[:count].astype(np.float32)

    def _predict_batch(self, images, indices):
        if self.strategy is None:
            return self._predict_step(images, indices)
        logits = self.strategy.run(self._predict_step, args=(images, indices))
        return self.strategy.gather(logits, axis=0)

    def _predict_step(self, images, indices):
        _, indices = self._share(indices)
        return self.model(tf.cast(tf.gather(images, indices), self.model.inputs[0].dtype), training=False)

    @contextlib.contextmanager
    def averaged_weights(self):
        """While active, the model holds the averaged weights; without averaging it changes nothing."""
        kept = [v.numpy() for v in self.model.weights] if self._averages else []
        for variable, average in zip(self.model.weights, self._averages, strict=False):
            variable.assign(average.numpy())
        try:
            yield self.model
        finally:
            for variable, value in zip(self.model.weights, kept, strict=False):
                variable.assign(value)

    # ------------------------------------------------------------------------------------------------ state

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next step depends on, but its number: name -> array."""
        return {name: variable.numpy() for name, variable in self._named_state()}

    def restore(self, state: dict[str, np.ndarray]):
        """Set what `state` returned; shapes and names are checked by the caller."""
        for name, variable in self._named_state():
            variable.assign(state[name])
        self._spread_random_states()

    def _named_state(self):
        groups = {
            "weights": self.model.weights,
            "velocities": self._velocities,
            "averages": self._averages,
            "random_states": self._random_states,
        }
        return [(f"{group}/{number:04d}", v) for group, members in groups.items() for number, v in enumerate(members)]

    # ------------------------------------------------------------------------------------------------ replicas

    def _scope(self):
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def _slot(self, value):
        return tf.Variable(value, trainable=False)

    def _on_devices(self, split):
        """Images and labels of a split as tensors, one copy for every replica."""
        if split not in self._splits:
            arrays = self._dataset.split(split)
            pair = arrays.images, arrays.labels.astype(np.int32)
            if self.strategy is None:
                self._splits[split] = tuple(tf.constant(array) for array in pair)
            else:
                self._splits[split] = tuple(
                    self.strategy.experimental_distribute_values_from_function(functools.partial(self._copy, array))
                    for array in pair
                )
        return self._splits[split]

    def _copy(self, array, context):
        """A tensor on the device of one replica."""
        devices = self.strategy.extended.worker_devices
        with tf.device(devices[context.replica_id_in_sync_group % len(devices)]):
            return tf.constant(array)

    def _spread_random_states(self):
        """Give every replica random layers of its own: one seed would drop the same units in every share of a batch."""
        if self.replicas == 1 or not self._random_states:
            return

        def spread():
            replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
            for state in self._random_states:
                offset = tf.stack([replica * 7919, tf.zeros((), tf.int64)])
                state.assign(state.value + tf.cast(offset, state.value.dtype))

        self.strategy.run(spread)

    def _share(self, indices):
        """Places in the global batch and indices of this replica's equal share of it."""
        size = indices.shape[0] // self.replicas
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group if self.strategy else 0
        first = tf.cast(replica, tf.int32) * size
        return first + tf.range(size), tf.slice(indices, [first], [size])


def _after(values, earlier):
    """The values, not to be had before the earlier ones are computed."""
    with tf.control_dependencies(earlier):
        return [tf.identity(value) for value in values]
